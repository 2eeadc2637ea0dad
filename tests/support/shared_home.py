"""A store's home for all tests of a file: `home = shared_home.fixture` there."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Set DEXTER_HOME to a folder that does not exist yet; give its path."""
    path = tmp_path_factory.mktemp("shared") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXTER_HOME", str(path))
        yield path
