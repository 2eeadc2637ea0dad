"""Classifiers without gradients: ONNX files, endpoints, Python code that leaves torch."""

import asyncio
import importlib.util

import onnx_files
import pytest
import servers
import tiny
import torch
from onnx_files import logits_of, scores

from dexter import bounded_http
from dexter.classifiers import (
    ClassifierOptions,
    describe_classifier,
    http_endpoint,
    load_classifier,
)
from dexter.classifiers.address import KEY
from dexter.classifiers.options import same_weights
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.search.optimize import optimize
from dexter.search.prompt import load_masked_lm

needs_onnxruntime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None,
    reason="not installed: pip install 'dexter-tui[onnx]'",
)
NONE = ClassifierOptions(normalization="none")
NAMES = ["red", "green", "blue"]


def images(count=3, side=64, seed=0):
    """Coarse pictures, which scaling changes little."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=(side, side)).round(decimals=2)


@needs_onnxruntime
class TestOnnx:
    @pytest.mark.parametrize(
        ("graph", "options", "said"),
        [
            ({}, {}, "NCHW float32"),
            ({"shape": (1, 3, 32, 32)}, {}, "NCHW float32 1 at a time"),
            ({"shape": (2, 3, 32, 32)}, {}, "2 at a time"),
            ({"shape": ("N", 32, 32, 3)}, {}, "NHWC float32"),
            ({"shape": (1, 32, 32, 3), "dtype": "uint8"}, {"normalization": None}, "from 0 to 255"),
            ({"dtype": "float16"}, {}, "NCHW float16"),
            ({"dtype": "float64"}, {}, "NCHW float64"),
            ({"last": ["Softmax"]}, {}, "one class of several (probabilities)"),
            ({"last": ["Softmax", "Identity"]}, {}, "one class of several (probabilities)"),
            ({"last": ["Softmax"], "label": True}, {}, "one class of several (probabilities)"),
            ({"shape": (1, 3, 32, 32), "last": ["Squeeze"]}, {}, "1 at a time, 3 classes"),
            ({"shape": ("N", 3, "H", "W")}, {}, "224 px (assumed)"),
            ({"shape": ("N", 3, "H", "W")}, {"input_size": 48}, "48 px"),
        ],
    )  # fmt: skip
    def test_the_graph_says_how_to_run_it(self, tmp_path, graph, options, said):
        file = onnx_files.colour_network(tmp_path / "net.onnx", **graph)
        classifier = load_classifier(
            f"onnx:{file}", ClassifierOptions(**{"normalization": "none", **options})
        )
        output = classifier(images())
        assert said in classifier.recognised and "no gradient" in classifier.recognised
        tolerance = 0.05 if graph.get("dtype") in ("uint8", "float16") else 1e-3
        expected = logits_of(images()).softmax(-1)
        assert torch.allclose(output.probabilities(), expected, atol=tolerance)
        assert not classifier.gradients

    def test_a_sigmoid_stands_for_labels(self, tmp_path):
        file = onnx_files.colour_network(tmp_path / "net.onnx", last=["Sigmoid"])
        classifier = load_classifier(f"onnx:{file}", NONE)
        assert "multi-label (probabilities)" in classifier.recognised
        p = classifier(images()).probabilities()
        assert torch.allclose(p, logits_of(images()).sigmoid(), atol=1e-3)

    def test_one_logit_needs_the_name_of_its_class(self, tmp_path):
        weight = onnx_files.WEIGHT[:, :1]
        for last in ([], ["Sigmoid"]):
            file = onnx_files.colour_network(tmp_path / "net.onnx", weight=weight, last=last)
            with pytest.raises(InputError) as refused:
                load_classifier(f"onnx:{file}", NONE)
            assert refused.value.field == "positive_class"
            options = ClassifierOptions(normalization="none", positive_class="red")
            p = load_classifier(f"onnx:{file}", options)(images()).probability(1)
            expected = logits_of(images())[:, 0].sigmoid()
            assert torch.allclose(p, expected, atol=1e-3)

    def test_it_is_normalised_as_the_options_state(self, tmp_path):
        file = onnx_files.colour_network(tmp_path / "net.onnx")
        half = load_classifier(f"onnx:{file}", ClassifierOptions(normalization="half"))
        expected = logits_of(2 * images() - 1)
        assert torch.allclose(half(images()).logits, expected, atol=1e-3)

    def test_one_of_several_outputs(self, tmp_path):
        file = onnx_files.colour_network(tmp_path / "net.onnx", last=["Softmax"], two_outputs=True)
        with pytest.raises(InputError, match="has 2 outputs") as refused:
            load_classifier(f"onnx:{file}", NONE)
        first = str(refused.value.remedy).split(" or ")[0].removeprefix("pass ")
        classifier = load_classifier(first, NONE)
        assert classifier.spec == first and classifier.answers.probabilities
        with pytest.raises(InputError, match="has no output 'age'"):
            load_classifier(f"onnx:{file}:age", NONE)
        onnx_files.colour_network(file, label=True)
        with pytest.raises(InputError, match=r"returns label tensor\(int64\).*:value"):
            load_classifier(f"onnx:{file}:label", NONE)

    def test_a_version_to_come_is_named(self, tmp_path):
        file = onnx_files.colour_network(tmp_path / "net.onnx")
        file.write_bytes(b"\x08\x63" + file.read_bytes()[2:])
        with pytest.raises(InputError, match=r"failed: ?Unsupported model IR version: 99, max"):
            load_classifier(f"onnx:{file}", NONE)

    def test_its_hash_is_of_the_file_and_of_weights_beside_it(self, tmp_path):
        file = onnx_files.colour_network(tmp_path / "net.onnx")
        first = describe_classifier(f"onnx:{file}", NONE)
        assert first.spec == f"onnx:{file}" and not first.gradients
        assert describe_classifier(f"onnx:{file}", NONE) == first
        (tmp_path / "net.onnx.data").write_bytes(b"weights")
        assert describe_classifier(f"onnx:{file}", NONE).weights_hash != first.weights_hash

    def test_its_hash_is_of_weights_that_it_names(self, tmp_path):
        hashes = set()
        for factor in (1, 2):
            file = onnx_files.colour_network(
                tmp_path / "net.onnx", weight=factor * onnx_files.WEIGHT, beside="weights.bin"
            )
            hashes.add(describe_classifier(f"onnx:{file}", NONE).weights_hash)
        assert len(hashes) == 2

    def test_weights_of_another_folder_are_refused(self, tmp_path):
        (tmp_path / "net").mkdir()
        file = onnx_files.colour_network(tmp_path / "net" / "net.onnx", beside="../weights.bin")
        with pytest.raises(InputError, match="cannot be loaded"):
            describe_classifier(f"onnx:{file}", NONE)

    def test_its_hash_is_of_a_file_with_brackets_in_its_name(self, tmp_path):
        """Such as a browser or a training gives: they are no pattern of names."""
        hashes = set()
        for factor in (1, 2):
            file = onnx_files.colour_network(
                tmp_path / "net[1].onnx", weight=factor * onnx_files.WEIGHT
            )
            hashes.add(describe_classifier(f"onnx:{file}", NONE).weights_hash)
        assert len(hashes) == 2

    @pytest.mark.parametrize(
        ("graph", "options", "field", "problem"),
        [
            ({}, {"normalization": None}, "normalization", "missing for onnx:"),
            ({"dtype": "uint8"}, {}, None, None),
            ({"dtype": "uint8"}, {"normalization": "half"}, "normalization", "takes bytes"),
            ({"shape": ("N", 3, 32, 48)}, {}, "classifier", "must be square"),
            ({"shape": ("N", 3, 32, 3)}, {}, "classifier", "first or last"),
            ({"shape": ("N", 1, 32, 32), "weight": onnx_files.WEIGHT[:1], "channels_last": False},
             {}, "classifier", "3 channels must come first or last"),
            ({}, {"input_size": 64}, "input_size", "takes 32 px"),
            ({}, {"labels": "waterbirds"}, "labels", "3 classes, but 2 labels"),
        ],
    )  # fmt: skip
    def test_what_it_does_not_fit_is_refused_in_a_line(
        self, tmp_path, graph, options, field, problem
    ):
        file = onnx_files.colour_network(tmp_path / "net.onnx", **graph)
        settings = ClassifierOptions(**{"normalization": "none", **options})
        if field is None:
            load_classifier(f"onnx:{file}", settings)
            return
        with pytest.raises(InputError, match=problem) as refused:
            load_classifier(f"onnx:{file}", settings)
        assert refused.value.field == field and "\n" not in str(refused.value)

    @pytest.mark.parametrize("content", [b"", b"<!doctype html><p>no", b"\x08\x08:\x05abcde"])
    def test_another_file_is_refused_in_a_line(self, tmp_path, content):
        file = tmp_path / "net.onnx"
        file.write_bytes(content)
        with pytest.raises(InputError) as refused:
            load_classifier(f"onnx:{file}", NONE)
        assert refused.value.field == "classifier" and "\n" not in str(refused.value)


def by_label(logits):
    return {"scores": dict(zip(NAMES, logits.softmax(-1).tolist(), strict=True))}


def in_order(logits):
    return {"scores": [round(p, 4) for p in logits.softmax(-1).tolist()]}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(http_endpoint, "_PAUSE", 0.0)
    monkeypatch.setattr(bounded_http, "MAX_REPLY", 4500)
    monkeypatch.delenv(KEY, raising=False)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("reply", "labels"),
        [
            (by_label, sorted(NAMES)),
            (in_order, ["class 0", "class 1", "class 2"]),
            (lambda logits: {"scores": logits.tolist()}, ["class 0", "class 1", "class 2"]),
        ],
    )
    def test_it_gets_pictures_as_drawn(self, reply, labels):
        with servers.serving(scores(reply)) as log:
            classifier = load_classifier(log.url)
            output = classifier(images())
        p = logits_of(images()).softmax(-1)
        p = p[:, [NAMES.index(one) for one in labels]] if reply is by_label else p
        assert torch.allclose(output.probabilities(), p, atol=0.02)
        assert classifier.labels == labels and not classifier.gradients
        assert classifier.spec == log.url
        assert "pictures as drawn" in classifier.recognised
        assert log.most <= http_endpoint.AT_ONCE

    def test_labels_give_the_order(self, tmp_path):
        file = tmp_path / "labels.txt"
        file.write_text("blue\nred\ngreen\n")
        with servers.serving(scores(by_label)) as log:
            classifier = load_classifier(log.url, ClassifierOptions(labels=file))
            p = classifier(images()).probabilities()
        assert classifier.labels == ["blue", "red", "green"]
        assert torch.allclose(p, logits_of(images()).softmax(-1)[:, [2, 0, 1]], atol=0.02)

    def test_another_model_behind_the_address_is_another_classifier(self):
        with servers.serving(scores(by_label)) as log:
            first = load_classifier(log.url).weights_hash
            assert load_classifier(log.url).weights_hash == first
            own = scores(lambda logits: by_label(2 * logits))
            log.server.answer = own
            other = load_classifier(log.url).weights_hash
            assert not same_weights(other, first)
        assert not same_weights(first, None) and not same_weights(first, "3f" * 32)

    @pytest.mark.parametrize(("count", "digits"), [(10, 2), (200, 4)])
    def test_rounded_probabilities_are_probabilities(self, count, digits):
        tail = 0.4 * 10**-digits  # which rounds to 0 in all classes but the first

        def rounded(logits):
            other = float(logits.softmax(-1)[0]) / 2
            p = [1 - other - tail * (count - 2), other] + [tail] * (count - 2)
            return {"scores": [round(one, digits) for one in p]}

        with servers.serving(scores(rounded)) as log:
            classifier = load_classifier(log.url)
            assert torch.allclose(classifier(images()).probabilities().sum(1), torch.ones(3))
        assert classifier.labels[-1] == f"class {count - 1}"
        assert "one class of several (probabilities)" in classifier.recognised

    def test_probabilities_that_are_rounded_away_are_refused_with_the_sum(self):
        sent = servers.body({"scores": [0.85, 0.05, *[0.0] * 500]})
        with servers.serving(sent) as log, pytest.raises(InputError, match=r"add up to 0\.90"):
            load_classifier(log.url)

    def test_jitter_and_the_order_of_labels_make_no_other_classifier(self):
        rng = torch.Generator().manual_seed(0)

        def jittered(logits):
            many = logits @ torch.linspace(-1, 1, 3 * 100).sin().reshape(3, 100)
            p = many.softmax(-1) + 1e-5 * torch.rand(100, generator=rng)
            order = torch.randperm(100, generator=rng).tolist()
            return {"scores": {f"label {at}": float(p[at]) for at in order}}

        with servers.serving(scores(jittered)) as log:
            first, second = (load_classifier(log.url) for _ in range(2))
        assert first.labels == second.labels and first.answers_key != second.answers_key
        assert second.adopt_identity(first.weights_hash)
        assert first.answers_key == second.answers_key

    @pytest.mark.parametrize(
        ("answer", "problem", "asked"),
        [
            (servers.status(500), "status 500 (3 tries)", 3),
            (servers.status(429), "status 429 (3 tries)", 3),
            (servers.status(401), "status 401; set DEXTER_CLASSIFIER_KEY", 1),
            (servers.status(404), "status 404", 1),
            (servers.status(307, Location="/elsewhere"), "status 307; pass the address", 1),
            (servers.garbage, "the reply is not JSON", 1),
            (servers.half, "cannot be asked: ", 3),
            (servers.nothing, "cannot be asked: ", 3),
            (servers.body({"error": "busy"}), 'has no "scores"', 1),
            (servers.body([0.5, 0.5]), 'has no "scores"', 1),
            (servers.body({"scores": []}), 'has no "scores"', 1),
            (servers.body({"scores": ["0.5", "0.5"]}), "not a finite number", 1),
            (servers.body({"scores": [float("nan"), 1.0]}), "not a finite number", 1),
            (servers.body({"scores": [True, False]}), "not a finite number", 1),
            (servers.body(b'{"scores": [1' + b"0" * 400 + b", 1]}"), "not a finite number", 1),
            (servers.body({"scores": [70.0, 30.0]}), "scores in percent", 1),
            (servers.body(b"x" * 5000), "longer than", 3),
            (servers.first(servers.body({"scores": [0.5, 0.5]}),
                           then=servers.body({"scores": [1]})), "after", 1),
            (servers.first(servers.body({"scores": {"a": 1, "b": 0}}),
                           then=servers.body({"scores": {"a": 1, "c": 0}})),
             "every reply must score all labels", 1),
        ],
    )  # fmt: skip
    def test_a_reply_that_is_none_is_refused_in_a_line(self, answer, problem, asked):
        with servers.serving(answer) as log, pytest.raises(InputError) as refused:
            load_classifier(log.url)
        text = str(refused.value)
        assert problem in text and log.url in text and "\n" not in text
        assert refused.value.field == "classifier"
        assert len(log.requests) <= 4 * asked

    def test_a_slow_reply_ends(self, monkeypatch):
        import threading

        over = threading.Event()
        monkeypatch.setattr(http_endpoint, "TIMEOUT", 0.2)
        monkeypatch.setattr(http_endpoint, "TRIES", 1)

        def drip(handler, _body, _number):
            handler.send_response(200)
            handler.end_headers()
            handler.drip(b'{"scores": [', b" ", over)

        with servers.serving(drip) as log, pytest.raises(InputError, match="no whole reply within"):
            load_classifier(log.url)
        over.set()

    def test_a_passing_fault_is_tried_again(self):
        shaky = servers.first(servers.status(503), servers.nothing, then=scores(by_label))
        with servers.serving(shaky) as log:
            assert load_classifier(log.url).labels == sorted(NAMES)

    def test_a_busy_server_is_given_the_time_that_it_asks_for(self, monkeypatch):
        pauses = []

        async def sleep(seconds):
            pauses.append(seconds)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        monkeypatch.setattr(http_endpoint, "AT_ONCE", 1)
        busy = servers.first(*(servers.status(503, Retry_After=after) for after in ("7", "soon")),
                             then=scores(by_label))  # fmt: skip
        with servers.serving(busy) as log:
            assert load_classifier(log.url).labels == sorted(NAMES)
        assert pauses == [7, http_endpoint._PAUSE]

    def test_a_server_that_goes_away_ends_the_run_in_a_line(self):
        with servers.serving(scores(by_label)) as log:
            classifier = load_classifier(log.url)
        with pytest.raises(http_endpoint.Unanswered, match=r"cannot be asked: .* \(3 tries\)"):
            classifier(images())

    def test_the_key_is_sent_and_nowhere_shown(self, monkeypatch):
        key = "secret-key-of-mine"
        monkeypatch.setenv(KEY, key)
        with servers.serving(scores(by_label)) as log:
            classifier = load_classifier(log.url)
            assert set(log.keys) == {f"Bearer {key}"}
            log.server.answer = servers.status(403, text=key)
            with pytest.raises(http_endpoint.Unanswered) as refused:
                classifier(images())
        shown = [str(refused.value), classifier.spec, classifier.recognised, *classifier.labels]
        assert not any(key in text for text in shown)
        with pytest.raises(InputError, match="is not encrypted") as plain:
            load_classifier("http://scores.example.org/score")
        assert key not in str(plain.value)

    @pytest.mark.parametrize(
        "address",
        ["http://user:pass@host/score", "https://host/score?key=pass", "http://host/score#pass"],
    )
    def test_an_address_holds_no_key(self, address):
        with pytest.raises(InputError, match="must not hold") as refused:
            load_classifier(address)
        assert "pass" not in str(refused.value).replace("password", "")

    @pytest.mark.parametrize("address", ["http:", "http:score", "http://", "https://:80/x"])
    def test_what_is_no_address_is_refused(self, address):
        with pytest.raises(InputError) as refused:
            load_classifier(address)
        assert refused.value.field == "classifier"

    def test_it_scales_pictures_itself(self):
        with pytest.raises(InputError, match="scales and normalises pictures itself"):
            load_classifier("http://127.0.0.1:9/", ClassifierOptions(normalization="half"))


LEAVES_TORCH = f"""
import numpy as np
WEIGHT = np.array({onnx_files.WEIGHT.tolist()}, np.float32)
class Net(nn.Module):
    labels = ["red", "green", "blue"]
    image_size = 32
    def forward(self, pictures):
        return torch.from_numpy(pictures.numpy().mean((2, 3)) @ WEIGHT)
def make():
    return Net()
"""
WITHOUT_GRAD = f"""
WEIGHT = torch.tensor({onnx_files.WEIGHT.tolist()})
class Net(nn.Module):
    labels = ["red", "green", "blue"]
    image_size = 32
    @torch.no_grad()
    def forward(self, pictures):
        return pictures.mean((2, 3)) @ WEIGHT
def make():
    return Net()
"""
WITH_GRAD = WITHOUT_GRAD.replace("    @torch.no_grad()\n", "")


def python(folder, text):
    file = folder / "mine.py"
    file.write_text("import torch\nfrom torch import nn\n" + text)
    return f"python:{file}:make"


@pytest.mark.parametrize("text", [LEAVES_TORCH, WITHOUT_GRAD], ids=["numpy", "no_grad"])
def test_python_code_may_leave_torch(tmp_path, text):
    classifier = load_classifier(python(tmp_path, text))
    assert not classifier.gradients and not describe_classifier(classifier.spec).gradients
    pictures = images().requires_grad_()
    logits = classifier(pictures).logits
    assert torch.allclose(logits, logits_of(images()), atol=1e-2) and not logits.requires_grad
    assert load_classifier(python(tmp_path, WITH_GRAD)).gradients


def search(spec, **overrides):
    """A short search of tiny models; and whether any of its pictures had a gradient."""
    classifier = load_classifier(spec)
    generator = load_generator(
        str(tiny.generator_folder()), GeneratorOptions(scheduler="LCM", diffusion_steps=1)
    )
    drawn = []
    generator._vae.decoder.register_forward_hook(
        lambda _, __, output: drawn.append(output.requires_grad)
    )
    config = RunConfig.from_preset(
        "quick", classifier=classifier.spec, class_name="red", batch=4, steps=3, **overrides
    )
    run = optimize(
        config,
        classifier=classifier,
        generator=generator,
        masked_lm=load_masked_lm(str(tiny.masked_lm_folder())),
    )
    return run, list(run), any(drawn)


@pytest.mark.parametrize("preset", [{}, {"straight_through": 1.0, "score_function": 0.0}])
def test_the_search_goes_by_scores_alone(tmp_path, preset):
    run, steps, had_gradient = search(python(tmp_path, LEAVES_TORCH), **preset)
    assert len(steps) == 3 and not had_gradient and run.result.words
    assert run.config.straight_through == 0 and run.config.score_function > 0
    assert run.config.grad_prompts == 0
    # The words move all the same: the soft prompt learns from the scores.
    first = run.state_dict()["soft_prompt"]
    assert run.load_state_dict(run.state_dict()) is None and bool((first != 0).all())


def test_with_a_gradient_it_is_asked_for(tmp_path):
    run, _, had_gradient = search(python(tmp_path, WITH_GRAD))
    assert had_gradient and run.config.straight_through > 0
