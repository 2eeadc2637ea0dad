"""Whatever comes from outside is taken or refused in one line; what was taken can be shown.

`make fuzz` runs these with 2,000 examples each, the tests with 100.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import outside
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outside import (
    Homes,
    changed,
    changed_bytes,
    changed_records,
    fuzzed,
    show_everything,
    taken,
)

from dexter.reasoning.endpoints import dialects
from dexter_tui.exchange import bundle_reader, reference_folder
from dexter_tui.exchange.bundle_writer import MANIFEST, RECORDS, manifest
from dexter_tui.jobs.sweeps import read_sweeps, sweep_configs
from store import Store

EXPORTED_OFTEN = 25  # one of this number of examples is exported in all forms


def bundle(records: list[Any]) -> dict[str, bytes]:
    _, pictures = outside.records()
    lines = []
    for record in records:
        try:
            lines.append(json.dumps(record, ensure_ascii=False).encode())
        except (UnicodeEncodeError, ValueError, TypeError):
            lines.append(json.dumps(record).encode())
    files = {f"frames/{name}": data for name, data in pictures.items()}
    files[RECORDS] = b"\n".join(lines) + b"\n"
    return files | {MANIFEST: manifest(files)}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def import_all(home: Path, source: Path) -> bool:
    with Store.open(home) as store:
        return taken(lambda: bundle_reader.import_bundle(store, source))


@pytest.mark.long
@fuzzed
@given(st.data())
def test_any_record(data: st.DataObject) -> None:
    records, _ = outside.records()
    with Homes() as homes:
        source = homes.folder / "b.zip"
        source.write_bytes(zipped(bundle(data.draw(changed_records(records)))))
        home = homes.empty()
        if import_all(home, source):
            show_everything(
                home, exports=data.draw(st.integers(1, EXPORTED_OFTEN)) == EXPORTED_OFTEN // 2
            )


def test_what_was_not_changed_is_taken() -> None:
    with Homes() as homes:
        source = homes.folder / "b.zip"
        source.write_bytes(zipped(bundle(outside.records()[0])))
        home = homes.empty()
        assert import_all(home, source)
        show_everything(home, exports=True)


@pytest.mark.long
@fuzzed
@given(st.data())
def test_any_archive(data: st.DataObject) -> None:
    whole = zipped(bundle(outside.records()[0]))
    with Homes() as homes:
        source = homes.folder / "b.zip"
        source.write_bytes(data.draw(changed_bytes(whole)))
        home = homes.empty()
        if import_all(home, source):
            show_everything(home, exports=False)


ARGS = {"classifier": "resnet18", "class_to_activate": 3, "seed": 1, "optim_steps": 5, "tau": 1.0}
TEXTS = {
    "pred_words.txt": "('a', 'b')\n('c', 'd')\n",
    "3_prompt.txt": "Step prompt: a picture of a a with b.\nTarget prompt: a picture of a c.\n",
    "caption.txt": "a duck\n----------------------\n",
    "report.txt": "It looks for water.\n",
    "as_dexter_prompts.txt": "Best: x\na picture of a a with b. - 0.5\n",
    "as_captions.txt": "Best: x\na duck - 0.25\n",
    "labels.txt": "one\ntwo\nthree\nfour\n",
}


@pytest.mark.long
@fuzzed
@given(st.data())
def test_any_run_folder(data: st.DataObject) -> None:
    _, pictures = outside.records()
    with Homes() as homes:
        folder = homes.folder / "3_20260101-000000"
        (folder / "frames").mkdir(parents=True)
        name = data.draw(st.sampled_from(["args.json", *TEXTS]))
        texts = {name: text.encode() for name, text in TEXTS.items()}
        texts["args.json"] = json.dumps(data.draw(changed(ARGS))).encode()
        if data.draw(st.booleans()):
            texts[name] = data.draw(changed_bytes(texts[name]))
        for file, text in texts.items():
            (folder / file).write_bytes(text)
        picture = next(iter(pictures.values()))
        if data.draw(st.booleans()):
            picture = data.draw(changed_bytes(picture))
        (folder / "frames" / "0004.png").write_bytes(picture)
        home = homes.empty()
        with Store.open(home) as store:
            came = taken(lambda: reference_folder.import_folder(store, folder))
        if came:
            show_everything(
                home, exports=data.draw(st.integers(1, EXPORTED_OFTEN)) == EXPORTED_OFTEN // 2
            )


SWEEP = {
    "classifier": ["lab:birds-biased", "lab:birds-balanced"], "class": "waterbird",
    "preset": "quick", "seeds": 2, "steps": 5, "exclude-words": ["a"], "template": "a [MASK]",
    "temperature": 0.5,
}  # fmt: skip


@fuzzed
@given(st.data())
def test_any_sweep(data: st.DataObject) -> None:
    text = json.dumps(data.draw(changed(SWEEP))).encode()
    if data.draw(st.booleans()):
        text = data.draw(changed_bytes(text))
    with Homes() as homes:
        file = homes.folder / "sweep.yaml"
        file.write_bytes(text)
        taken(lambda: [sweep_configs(sweep) for sweep in read_sweeps(file)])


REPLY = {
    "choices": [{"message": {"role": "assistant", "content": "a duck"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7},
    "error": None,
}


@fuzzed
@given(st.data())
def test_any_reply_of_an_endpoint(data: st.DataObject) -> None:
    reply = data.draw(changed(REPLY))
    for read in (
        lambda: dialects.read_completion(reply),
        lambda: dialects.read_completion(dialects.join_stream([reply, reply], ended=True)),
    ):
        try:
            reading = read()
        except dialects.Unusable as error:
            str(error).encode()
            continue
        reading.text.encode()
        for count in (reading.input_tokens, reading.output_tokens):
            assert count is None or 0 <= count < 2**63
    str(dialects.complaint(reply)).encode()
    dialects.every_text(reply).encode()
    dialects.is_spent(reply)


def test_a_lone_surrogate_in_a_reply_can_be_printed() -> None:
    assert dialects.every_text({**REPLY, "choices": "a\ud800"}).startswith("a?")
    said = {"message": {"content": "a duck\ud800"}, "finish_reason": "stop"}
    assert dialects.read_completion({**REPLY, "choices": [said]}).text == "a duck?"
    with pytest.raises(dialects.Unusable, match="no duck\\?"):
        dialects.read_completion({"error": {"message": "no duck\ud800"}})


@fuzzed
@given(st.data())
def test_any_checkpoint(checkpoint: bytes, data: st.DataObject) -> None:
    from dexter.classifiers.checkpoint import _read

    with Homes() as homes:
        file = homes.folder / "weights.pt"
        file.write_bytes(data.draw(changed_bytes(checkpoint)))
        taken(lambda: _read(file, f"checkpoint:{file}", False))


@pytest.fixture(scope="session")
def checkpoint() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(
        {"state_dict": {"head.weight": torch.zeros(3, 4), "head.bias": torch.zeros(3)}}, buffer
    )
    return buffer.getvalue()
