"""The gate: code that a record, file or store names never runs without the user's consent."""

import ast
import json
import pickle
import runpy
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx_files
import pytest
import servers
import tiny
from piloting import dashboard, driven, press, text, until

from dexter.config import RunConfig
from dexter_tui.analysis.comparison_request import Request
from dexter_tui.dashboard import operations
from dexter_tui.exchange.bundle_writer import MANIFEST, RECORDS, manifest, write_folder
from dexter_tui.jobs import control, trust
from dexter_tui.machine import devices
from store import State, Store, comparison_records, run_queue, screening_records
from store.data_reports import page as data_pages
from store.data_reports import records as data_records
from store.reading import screenings
from store.reading.browse import Browse
from store.states import Kind
from store.tables import to_json
from store.upkeep.transfer import Chosen, gather

REPOSITORY = Path(__file__).parents[3]
SPECS = ("python", "arch", "checkpoint", "pickle", "hf pickle", "http")
BENIGN = "lab:birds-biased"
LABELS = ["waterbird", "landbird"]


class Opened:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


class Outside:
    """Files of somebody else's, which create the canary if any of their code runs.

    So does the server at the address ``url``, if there is one.
    """

    def __init__(self, folder: Path, url: str = "http://127.0.0.1:9/score") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.url = url
        self.canary = folder / "canary"
        self.code = folder / "net.py"
        self.code.write_text(f"open({str(self.canary)!r}, 'w')\ndef make():\n    pass\n")
        self.weights = folder / "net.pt"
        self.weights.write_bytes(pickle.dumps(Opened(self.canary)))
        self.hf = folder / "hf"
        shutil.copytree(tiny.classifier_folder(), self.hf)
        (self.hf / "model.safetensors").unlink()
        (self.hf / "pytorch_model.bin").write_bytes(pickle.dumps(Opened(self.canary)))

    def settings(self, spec: str) -> dict[str, Any]:
        """Return the settings of a run that loads one of the files."""
        python = f"python:{self.code}:make"
        settings: dict[str, dict[str, Any]] = {
            "python": {"classifier": python},
            "arch": {"classifier": f"checkpoint:{self.folder / 'w.safetensors'}", "arch": python},
            "checkpoint": {"classifier": f"checkpoint:{self.weights}", "arch": "resnet18"},
            "pickle": {
                "classifier": f"checkpoint:{self.weights}",
                "arch": "resnet18",
                "trust_pickle": True,
            },
            "hf pickle": {"classifier": f"hf:{self.hf}", "trust_pickle": True},
            "http": {"classifier": self.url},
        }
        return settings[spec]

    def config(self, spec: str, seed: int = 0) -> RunConfig:
        values = {"classifier": BENIGN} if spec == "benign" else self.settings(spec)
        return RunConfig.from_preset(
            "quick", **{**values, "class_name": "waterbird", "device": "cpu", "seed": seed}
        )


def fill(home: Path, outside: Outside, states: tuple[str, ...]) -> None:
    """Make a store with a study for each spec, and a run of it in each state."""
    with Store.open(home) as store:
        for spec in (*SPECS, "benign"):
            config = outside.config(spec)
            row = store.ensure_classifier(config.classifier, None, LABELS, 64)
            study = store.ensure_study(row, "waterbird", 0, {**config.study_settings(), "s": spec})
            runs = [
                (seed, outside.config(spec, seed).model_dump(mode="json"))
                for seed in range(len(states))
            ]
            ids = store.add_runs(study, runs)
            with closing(sqlite3.connect(store.path)) as connection, connection:
                for run, state in zip(ids, states, strict=True):
                    connection.execute("UPDATE run SET state = ? WHERE id = ?", (state, run))
            screening_records.ensure_bank(
                store, "key", pool="lab", pool_text=None, pool_hash="h", topic={}, seed=0
            )
            values = config.model_dump(mode="json")
            member = {"name": spec, "classifier_id": row, "class_index": 0, "config": values}
            screening = screening_records.add_screening(store, "key", "waterbird", {}, [member])
            job = run_queue.add_job(
                store, Kind.SCREENING, {}, config=outside.config("benign").model_dump(mode="json"),
                device="cpu", screening_id=screening,
            )  # fmt: skip
            on_data: dict[str, Any] = {
                "data": str(home), "mapping": {}, "concepts": [], "settings": {},
                "screening": None, "origin": "words of the command",
            }  # fmt: skip
            about_class: dict[str, Any] = {
                "class_name": "waterbird", "class_index": 0, "data": None, "image": None,
                "pool": "lab", "pool_text": None, "pool_hash": "h", "screening": None,
                "member": None, "models": {}, "settings": {},
            }  # fmt: skip
            for kind, request in ((Kind.DEBIAS, on_data), (Kind.WHATIF, about_class)):
                asked = data_records.add(
                    store, kind, classifier_id=row, data=str(home), data_hash="h", request=request
                )
                data_job = run_queue.add_job(
                    store, kind, {"data_report": asked}, config=values, device="cpu"
                )
                data_records.set_job(store, asked, data_job)
                control.cancel(store, data_job)
            if "queued" not in states or spec != "python":  # a process for one is enough
                control.cancel(store, job)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("trust") / "theirs"
    folder.mkdir()

    def answer(handler: servers.Handler, _body: object, _number: int) -> None:
        (folder / "canary").touch()
        handler.send(200, b'{"scores": [0.5, 0.5]}')

    with servers.serving(answer) as log:
        yield Outside(folder, log.url)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, outside: Outside) -> Path:
    """A store from elsewhere."""
    home = tmp_path_factory.mktemp("foreign") / "home"
    fill(home, outside, ("succeeded", "paused", "failed"))
    return home


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, foreign: Path) -> Path:
    """A bundle of all of it."""
    with Store.open(foreign) as store:
        chosen = Chosen(store, [study.id for study in store.studies()])
        records, _ = gather(store, chosen)
    files = {RECORDS: "".join(f"{to_json(record)}\n" for record in records).encode()}
    files[MANIFEST] = manifest(files)
    return write_folder(files, tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(devices.CPU_SLOTS, "1")
    return tmp_path / "home"


@pytest.fixture(params=["store", "bundle"])
def arrived(
    request: pytest.FixtureRequest, home: Path, foreign: Path, bundle: Path, cli: Any
) -> str:
    """Brings the foreign studies into the home, as a copy of a store or by import."""
    if request.param == "store":
        shutil.copytree(foreign, home)
    else:
        imported = cli("import", bundle)
        assert imported.code == 0, imported.err
    return str(request.param)


def studies(home: Path) -> dict[str, dict[str, str]]:
    """The ids of each spec's study, and of its runs by state."""
    with Store.open(home) as store:
        return {
            study.settings["s"]: {
                "study": study.id,
                **{run.state.value: run.id for run in store.runs(study_id=study.id)},
            }
            for study in store.studies()
        }


def screening_commands(home: Path, spec: str) -> list[list[str]]:
    """The commands that continue the screening of a spec; bundles hold none."""
    return [
        command
        for one in screenings.listed(Browse(home))
        if one["classifiers"] == [spec]
        for command in (["retry", one["id"]], ["resume", one["job"]])
    ]


def data_commands(home: Path, outside: Outside, spec: str) -> list[list[str]]:
    """The commands that continue the reports on pictures of a spec; bundles hold none."""
    return [
        command
        for one in data_pages.listed(Browse(home))
        if one.classifier == outside.config(spec).classifier and one.job is not None
        for command in (["retry", one.id], ["resume", one.id], ["resume", one.job])
    ]


def states(home: Path) -> list[tuple[str, State]]:
    with Store.open(home) as store:
        return [(run.id, run.state) for run in store.runs()]


def job_states(home: Path) -> list[State]:
    with Store.open(home) as store:
        return [job.state for job in run_queue.jobs(store)]


def assert_refused(outcome: Any, outside: Outside) -> None:
    assert outcome.code == 2, outcome.out + outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1 and "--trust-" in lines[0], outcome.err
    assert not outside.canary.exists()


def test_no_command_loads_what_came_from_outside(
    arrived: str, home: Path, outside: Outside, cli: Any
) -> None:
    found = studies(home)
    benign = found["benign"]["study"]
    before = states(home)
    for spec in SPECS:
        ids = found[spec]
        if arrived == "bundle" and spec == "hf pickle":
            with Store.open(home) as store:  # without the flag, its weights are no code
                assert store.run(ids["failed"]).config["trust_pickle"] is False
            continue
        for command in (
            ["resume", ids["paused"]],
            ["retry", ids["failed"]],
            ["retry", ids["failed"], "--from-start"],
            ["retry", ids["study"]],
            ["report", ids["study"]],
            ["report", ids["study"], "--detach"],
            ["compare", ids["study"], benign, "--concepts", "sea"],
            ["compare", benign, ids["study"], "--concepts", "sea", "--detach"],
            *screening_commands(home, spec),
            *data_commands(home, outside, spec),
        ):
            assert_refused(cli(*command), outside)
    assert states(home) == before
    with Store.open(home) as store:
        assert store.runs(states=[State.QUEUED]) == []


def test_a_comparison_from_elsewhere_is_not_continued(
    home: Path, outside: Outside, cli: Any
) -> None:
    fill(home, outside, ("succeeded",))
    configs = [outside.config(spec).model_dump(mode="json") for spec in ("benign", "python")]
    with Store.open(home) as store:
        members = [
            {"class_name": "waterbird", "position": at, "name": f"n{at}", "classifier_id": at + 1,
             "class_index": 0, "config": config}
            for at, config in enumerate(configs)
        ]  # fmt: skip
        comparison = comparison_records.add_comparison(store, {}, members)
        job = run_queue.add_job(
            store, Kind.COMPARISON, {}, config=configs[0], comparison_id=comparison
        )
    for state in ("failed", "paused", "lost"):
        with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
            connection.execute("UPDATE job SET state = ?", (state,))
        for command in (["retry", comparison], ["retry", job], ["resume", job]):
            if state != "paused" or command[0] == "resume":
                assert_refused(cli(*command), outside)


def test_the_dashboard_loads_nothing_either(arrived: str, home: Path, outside: Outside) -> None:
    found = studies(home)
    for spec in SPECS:
        if arrived == "bundle" and spec == "hf pickle":
            continue
        ids = found[spec]
        paused = SimpleNamespace(id=ids["paused"], state=State.PAUSED)
        failed = SimpleNamespace(id=ids["failed"], state=State.FAILED)
        names = [ids["study"], found["benign"]["study"]]
        asked = Request(names=names, settings=_concepts())
        for act in (
            lambda row=paused: operations.pause(home, [row]),
            lambda row=failed: operations.retry(home, [row]),
            lambda study=ids["study"]: operations.report(home, study),
            lambda one=spec: operations.enqueue(home, [outside.config(one)]),
            lambda request=asked: operations.compare(home, request),
        ):
            with pytest.raises(trust.ConsentNeeded):
                act()
    assert not outside.canary.exists()


def _concepts() -> Any:
    from dexter.reasoning.settings import CompareSettings

    return CompareSettings.from_values({"concepts": "sea"})


@pytest.mark.parametrize("spec", SPECS)
def test_files_of_settings_carry_no_consent(
    spec: str, home: Path, tmp_path: Path, outside: Outside, cli: Any
) -> None:
    values = {**outside.settings(spec), "class_name": "waterbird"}
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(json.dumps(values))
    assert_refused(cli("queue", "add", "--file", sweep), outside)
    assert not home.exists()
    home.mkdir()
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    (home / "config.toml").write_text("\n".join(["[run]", *lines]))
    for command in (["run"], ["queue", "add"], ["probe", "a duck at night"]):
        assert_refused(cli(*command), outside)
    assert not (home / "store.sqlite").exists()


def test_a_run_folder_carries_no_consent(
    home: Path, tmp_path: Path, outside: Outside, cli: Any
) -> None:
    folder = tmp_path / "0_20260101-000000"
    (folder / "frames").mkdir(parents=True)
    spec = outside.settings("python")["classifier"]
    options = {"classifier": spec, "class_to_activate": 0, "trust_pickle": True}
    (folder / "args.json").write_text(json.dumps(options))
    imported = cli("import", folder)
    assert imported.code == 0, imported.err
    study = next(name for name in imported.out.split() if name.startswith("s"))
    assert_refused(cli("report", study), outside)
    with Store.open(home) as store:
        assert all(run.config["trust_pickle"] is False for run in store.runs())


@pytest.mark.long
def test_a_queue_from_elsewhere_runs_nothing(home: Path, outside: Outside, cli: Any) -> None:
    fill(home, outside, ("queued",))
    found = studies(home)
    assert cli("cancel", found["benign"]["queued"]).code == 0
    assert cli("queue", "start").code == 0
    deadline = time.monotonic() + 600
    while any(
        state in (State.QUEUED, State.STARTING, State.RUNNING)
        for state in [state for _, state in states(home)] + job_states(home)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with Store.open(home) as store:
        [job] = [job for job in run_queue.jobs(store) if job.state is not State.CANCELLED]
        assert job.state is State.FAILED and "--trust-" in (job.error_line or "")
        for spec in SPECS:
            run = store.run(found[spec]["queued"])
            assert run.state is State.FAILED
            assert "--trust-" in str(run.error)
    assert not outside.canary.exists()


def test_a_flag_is_consent_to_these_files_and_is_remembered(
    home: Path, tmp_path: Path, cli: Any
) -> None:
    own = Outside(tmp_path / "own")
    fill(home, own, ("paused", "failed"))
    for load in (
        lambda: runpy.run_path(str(own.code)),
        lambda: pickle.loads(own.weights.read_bytes()),
    ):
        load()
        assert own.canary.exists()  # so its absence elsewhere proves something
        own.canary.unlink()
    for spec in ("python", "checkpoint"):
        assert trust.lacking([own.config(spec)])
        assert trust.lacking([own.config(spec)], trust.agreed_by(code=True)) == []
        assert not trust.lacking([own.config(spec)])
    # Consent to its weights is none to a pickle.
    assert [need.field for need in trust.lacking([own.config("pickle")])] == ["trust_pickle"]
    assert not trust.admitted(own.config("checkpoint")).trust_pickle
    assert trust.lacking([own.config("checkpoint")], trust.agreed_by(pickle=True)) == []
    assert trust.admitted(own.config("checkpoint")).trust_pickle
    assert cli("resume", studies(home)["python"]["paused"], "--detach").code == 0
    # It is for this content alone, and for this function.
    other = own.config("python").model_copy(update={"classifier": f"python:{own.code}:other"})
    assert trust.lacking([other])
    own.code.write_text(own.code.read_text() + "\n")
    assert trust.lacking([own.config("python")])
    assert not list(home.rglob("*trusted*"))  # where a copy of the store would carry it


def test_an_address_needs_consent_of_its_own(tmp_path: Path, outside: Outside) -> None:
    [need] = trust.needs(outside.config("http"))
    assert (need.field, need.spec) == ("classifier", outside.url)
    assert need.line.startswith(f"{outside.url} is sent all pictures")
    own = {"classifier": "http://127.0.0.1:9/of-this-test"}
    config = outside.config("http").model_copy(update=own)
    for agreed in (frozenset(), trust.agreed_by(code=True, pickle=True)):
        with pytest.raises(trust.ConsentNeeded, match="--trust-endpoint if you trust its owner"):
            trust.require([config], agreed)
    again = config.model_copy(update={"classifier": "http://127.0.0.1:9/by-flag"})
    trust.require([again], trust.agreed_by(endpoint=True))
    trust.require([config], trust.agreed_by(own))
    trust.require([config])
    assert trust.lacking([outside.config("http")])
    for faulty in ("http://user:secret@host/", "https://host/?key=secret", "http:"):
        # Refused at load, and recorded nowhere.
        assert trust.needs(config.model_copy(update={"classifier": faulty})) == []


def test_a_graph_is_no_code(tmp_path: Path, outside: Outside) -> None:
    file = onnx_files.colour_network(tmp_path / "net.onnx")
    graph = outside.config("benign").model_copy(update={"classifier": f"onnx:{file}"})
    assert trust.needs(graph) == []


def test_typing_it_is_consent() -> None:
    typed = trust.agreed_by({"classifier": "python:a.py:make", "trust_pickle": True})
    assert typed == {"classifier", "server", "trust_pickle"}
    assert trust.agreed_by({"arch": None, "trust_pickle": False}) == frozenset()


@driven
async def test_the_dashboard_asks_and_goes_on_after_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, home = Outside(tmp_path / "own"), tmp_path / "home"
    monkeypatch.setenv("DEXTER_HOME", str(home))
    monkeypatch.setenv(devices.CPU_SLOTS, "1")
    fill(home, own, ("succeeded",))
    study, before = studies(home)["python"]["study"], _jobs(home)
    async with dashboard(home).run_test(notifications=True, size=(120, 40)) as pilot:
        pilot.app.open_study(study)  # type: ignore[attr-defined]
        await until(pilot, lambda: f"Study {study}" in text(pilot))
        await press(pilot, "w")
        await until(pilot, lambda: "Run this code on your machine?" in text(pilot))
        assert str(own.code)[:20] in text(pilot)
        await press(pilot, "n")
        assert trust.lacking([own.config("python")])
        await press(pilot, "w")
        await until(pilot, lambda: "Run this code on your machine?" in text(pilot))
        await press(pilot, "y")
        await until(pilot, lambda: not trust.lacking([own.config("python")]))
        await until(pilot, lambda: _jobs(home) == before + 1)


def _jobs(home: Path) -> int:
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])


LOADERS = {"load_models", "load_classifier", "describe_classifier"}


def imported_loaders(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dexter":
            names = {alias.name for alias in node.names}
            yield from names & (LOADERS | ({"models"} if node.module == "dexter" else set()))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name == "dexter.models")


def test_nothing_loads_beside_the_gate() -> None:
    allowed = {"jobs/trust.py", "machine/gpu_check.py", "machine/gpu_measures.py"}
    package = REPOSITORY / "dexter_tui"
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        if name not in allowed:
            assert not list(imported_loaders(path.read_text())), name
    assert list(imported_loaders("from dexter.models import load_models")) == ["load_models"]
