"""Language models whose chat template has no role for the system."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from PIL import Image

from dexter.errors import InputError
from dexter.reasoning.captions import LocalCaptioner
from dexter.reasoning.report import LocalWriter

NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
)


def caption(folder: Path) -> str:
    picture = io.BytesIO()
    Image.new("RGB", (32, 32), "navy").save(picture, "PNG")
    [found] = LocalCaptioner(str(folder), "a bird").caption([picture.getvalue()])
    return found.text


def report(folder: Path) -> str:
    return LocalWriter(str(folder)).write("a bird", "on water").text


@pytest.mark.parametrize(
    ("make", "ask"), [(tiny.captioner_folder, caption), (tiny.writer_folder, report)]
)
def test_the_user_says_what_the_system_would(
    make: Callable[[], Path], ask: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = shutil.copytree(make(), tmp_path / "theirs")
    expected = ask(folder)
    template = folder / "chat_template.jinja"
    template.write_text(NO_SYSTEM + template.read_text())
    assert ask(folder) == expected
    template.write_text("{{ raise_exception('Ask somebody else') }}")
    with pytest.raises(InputError, match="refuses a question: Ask somebody else"):
        ask(folder)
