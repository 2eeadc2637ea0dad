"""Black boxes on the command line: searched, reported, probed and screened by scores alone."""

import importlib.util
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx_files
import pytest
import servers
import shared_home
import short_run
import tiny

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        importlib.util.find_spec("onnxruntime") is None,
        reason="not installed: pip install 'dexter-tui[onnx]'",
    ),
]
home = shared_home.fixture

NAMES = ["red", "green", "blue"]
TINY: dict[str, object] = {
    "class": "red",
    "generator": tiny.generator_folder(),
    "diffusion_steps": 1,
    "device": "cpu",
}
TESTS: dict[str, object] = {"image_text": tiny.image_text_folder(), "placebos": 1}
# Words that the tiny generator was given.
POOL = """
picture: a picture of
articles: a
slots:
  place:
    position: beside
    concepts: [sea, forest, snow]
"""


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """The flags of one network in two forms: an ONNX file, and a server."""
    folder = tmp_path_factory.mktemp("boxes")
    labels = folder / "labels.txt"
    labels.write_text("\n".join(NAMES))
    file = onnx_files.colour_network(folder / "net.onnx")

    jitter = random.Random(0)

    def reply(logits: Any) -> dict[str, dict[str, float]]:
        scores = [p + jitter.uniform(0, 1e-5) for p in logits.softmax(-1).tolist()]
        return {"scores": dict(zip(NAMES, scores, strict=True))}

    with servers.serving(onnx_files.scores(reply)) as log:
        graph = {"classifier": f"onnx:{file}", "labels": labels, "normalization": "none"}
        yield {
            "onnx": short_run.flags({**graph, **TINY}),
            "http": short_run.flags({"classifier": log.url, "labels": labels, **TINY}),
        }


def test_a_search_goes_by_scores_alone_and_its_words_are_reported(
    cli: Callable[..., Any], boxes: dict[str, list[str]], tmp_path: Path
) -> None:
    own = {**short_run.settings(), "steps": 3, "template": "a picture of a bird with [MASK]"}
    more = short_run.flags({key: own[key] for key in own if key not in (*TINY, "classifier")})
    studies = []
    for name in ("onnx", "http"):
        outcome = cli("run", *boxes[name], *more, *(["--detach"] if name == "onnx" else []))
        assert outcome.code == 0, outcome.err
        assert "has no gradient: the search uses its scores alone" in outcome.err
        studies.append(outcome.out.split()[0])
    shown = [cli("show", study, "--json").json for study in studies]
    for one in shown:
        [run] = one["runs"]
        assert (one["class_name"], run["state"], run["steps"]) == ("red", "succeeded", 3)
        config = cli("show", run["id"], "--json").json["config"]
        assert config["straight_through"] == 0 and config["score_function"] > 0
    again = cli("run", *boxes["http"], *more, "--seed", "1", "--detach")
    assert again.out.split()[0] == studies[1]  # the jitter of its scores makes no other server
    small = short_run.flags(
        {**TESTS, "candidates": 1, "score_images": 2, "attribution_seeds": 2, "tries": 1}
    )
    outcome = cli("report", studies[0], *small, "--json")
    assert outcome.code == 0, outcome.err
    assert len(outcome.json["claims"]) == 1 and outcome.json["claims"][0]["pairs"] >= 32
    assert cli("export", studies[0], "-o", tmp_path / "report.md").code == 0
    assert "no gradient" in (tmp_path / "report.md").read_text()


def test_a_search_for_embeddings_is_refused(
    cli: Callable[..., Any], boxes: dict[str, list[str]]
) -> None:
    outcome = cli("run", *boxes["onnx"], "--search", "continuous", "--detach")
    assert outcome.code == 2
    assert outcome.err.strip().count("\n") == 0
    assert "continuous needs gradients" in outcome.err and "search words" in outcome.err


def test_a_question_is_answered_by_a_servers_scores(
    cli: Callable[..., Any], boxes: dict[str, list[str]]
) -> None:
    outcome = cli("probe", "a duck with snow", *boxes["http"], *short_run.flags(TESTS), "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["concept"], outcome.json["pairs"] >= 32) == ("snow", True)


def test_both_forms_are_screened_alike_on_the_same_pictures(
    cli: Callable[..., Any], boxes: dict[str, list[str]], tmp_path: Path
) -> None:
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL)
    more = short_run.flags({**TESTS, "concepts": pool, "pictures": 30})
    found = []
    for name in ("onnx", "http"):
        outcome = cli("screen", *boxes[name], *more, "--no-confirm", "--json")
        assert outcome.code == 0, outcome.err
        found.append(outcome.json)
    assert [one["drawn"] for one in found] == [30, 0]
    graph, server = (
        {f["concept"]: f["effect"] for f in one["members"][0]["findings"]} for one in found
    )
    assert set(graph) == {"sea", "forest", "snow"} and graph == pytest.approx(server, abs=0.02)
