"""Sweeps: one set of settings with lists becomes many configurations."""

import difflib
import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.loading import one_line, read_text
from dexter_tui import field_flags

MAX_FILE = 1_000_000  # bytes
MAX_RUNS = 10_000  # of one sweep


def sweep_configs(sweep: Mapping[str, object]) -> list[RunConfig]:
    """Return a configuration for each combination of what the sweep lists."""
    settings = dict(sweep)
    seeds = settings.pop("seeds", None)
    seed = settings.pop("seed", None)
    if seeds is not None and seed is not None:
        raise InputError("--seeds and --seed: give one of them")
    numbers = [0]
    if seeds is not None:
        if not isinstance(seeds, int) or not 1 <= seeds <= 1000:
            raise InputError(f"seeds: {seeds!r} refused; a number from 1 to 1000")
        numbers = list(range(seeds))
    elif seed is not None:
        numbers = _listed(seed)
    presets = _listed(settings.pop("preset", None))
    classifiers = _listed(settings.pop("classifier", None))
    classes = _listed(settings.pop("class_name", None))
    configs: list[RunConfig] = []
    count = len(presets) * len(classifiers) * len(classes) * len(numbers)
    if count > MAX_RUNS:
        raise InputError(
            f"{count:,} runs exceed the limit of {MAX_RUNS:,}", remedy="queue them in parts"
        )
    for preset, classifier, name in itertools.product(presets, classifiers, classes):
        one = {**settings, "classifier": classifier, "class_name": name}
        configs += field_flags.configs(preset, numbers, one)
    return configs


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def read_sweeps(path: Path) -> list[dict[str, object]]:
    """Return the sweeps of a YAML file, whose names are flags or fields."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """A loader without aliases, with which a small file can stand for any number of values."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it has an alias (*name)")
            return super().compose_node(parent, index)

    text = read_text(path, field="file", limit=MAX_FILE)
    try:
        read = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = getattr(error, "problem", None) or one_line(error)[:100]
        raise InputError(f"{path} is not YAML: {what}", field="file") from None
    sweeps = read if isinstance(read, list) else [read]
    if not sweeps or not all(isinstance(sweep, dict) for sweep in sweeps):
        raise InputError(f"{path} must hold settings by name, or a list of such", field="file")
    spelling = {flag.removeprefix("--"): name for name, flag in field_flags.SPELLING.items()}
    return [
        {
            spelling.get(str(name), str(name).replace("-", "_")): value
            for name, value in sweep.items()
        }
        for sweep in sweeps
    ]


def checked_sweeps(file: Path, own: Collection[str]) -> list[dict[str, object]]:
    """Return the sweeps of a file; InputError for a name that is none of `own` settings."""
    sweeps = read_sweeps(file)
    for name in dict.fromkeys(name for sweep in sweeps for name in sweep):
        if name not in own:
            near = difflib.get_close_matches(name, [*own, "class"], n=1)
            raise InputError(
                f"{name!r} in {file} is not a setting",
                field="file",
                value=name,
                remedy=f"did you mean {near[0]!r}?" if near else "see `dexter-tui run --help`",
            )
    return sweeps
