from pathlib import Path

import pytest

from any3davatar.cache import cache_root


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path))
    assert cache_root() == tmp_path


def test_without_it_the_cache_is_the_users_and_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A3D_CACHE", raising=False)
    assert cache_root().name == "any3davatar"
    assert cache_root().is_absolute()
