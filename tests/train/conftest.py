from pathlib import Path

import pytest

from any3davatar.anyhead.readers import GroupEntry
from tests.train.tiny_run import make_beans


@pytest.fixture(scope="session")
def beans_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("beans")
    make_beans(root)
    return root


@pytest.fixture(scope="session")
def beans(beans_root: Path) -> tuple[GroupEntry, ...]:
    return make_beans(beans_root)
