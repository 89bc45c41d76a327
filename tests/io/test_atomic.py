"""Output files appear whole or not at all, whatever the writer."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from any3davatar.core import InvalidInput
from any3davatar.core.rigs import orbit
from any3davatar.io import (
    GAUSSIAN_FORMATS,
    FormatError,
    atomic_path,
    write_cameras,
    write_gaussians,
    write_mp4,
    write_png,
)
from tests.io.scenes import some_gaussians, some_picture


def test_a_block_that_ends_well_puts_the_file_in_place(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    final.write_text("old")
    with atomic_path(final) as temporary:
        temporary.write_text("new")
        assert final.read_text() == "old"
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert final.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    final = tmp_path / "a.txt"
    final.write_text("old")

    def fail() -> None:
        with atomic_path(final) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert final.read_text() == "old"


WRITERS: dict[str, Callable[[Path], None]] = {
    **{
        suffix: lambda path: write_gaussians(path, some_gaussians(9, 0))
        for suffix in GAUSSIAN_FORMATS
    },
    ".png": lambda path: write_png(path, some_picture(4, 6)),
    ".mp4": lambda path: write_mp4(path, [some_picture(16, 16)]),
    ".json": lambda path: write_cameras(path, orbit([0], [0], size_px=8), ["front"]),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_writers_that_run_out_of_disk_leave_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    final = tmp_path / f"a{suffix}"
    final.write_bytes(b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[suffix](final)
    assert [path.name for path in tmp_path.iterdir()] == [final.name]
    assert final.read_bytes() == b"old"


def test_a_video_whose_frames_fail_midway_leaves_the_old_file(tmp_path: Path) -> None:
    def frames() -> Iterator[torch.Tensor]:
        yield some_picture(16, 16)
        yield some_picture(16, 18)

    final = tmp_path / "a.mp4"
    final.write_bytes(b"old")
    with pytest.raises(InvalidInput, match=r"frame 0 is \(3, 16, 16\), frame 1 is \(3, 16, 18\)"):
        write_mp4(final, frames())
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert final.read_bytes() == b"old"


def test_folders_are_not_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"create it first: .*nowhere/a\.ply"):
        write_gaussians(tmp_path / "nowhere" / "a.ply", some_gaussians(1, 0))
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder.ply").mkdir()
    os.mkfifo(tmp_path / "pipe.ply")
    for name, kind in (("folder.ply", "a folder"), ("pipe.ply", "a named pipe")):
        with pytest.raises(FormatError, match=f"can't write over {kind}"):
            write_gaussians(tmp_path / name, some_gaussians(1, 0))
    assert stat.S_ISFIFO((tmp_path / "pipe.ply").stat().st_mode)


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "store" / "a.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "store" / "a.txt").read_text() == "new"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_png(tmp_path / "a.png", some_picture(2, 2))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


def test_a_writer_that_replaces_the_file_does_not_make_it_private(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("")
    with atomic_path(tmp_path / "made.txt") as temporary:
        other = temporary.with_suffix(".other")
        other.write_text("made")
        other.chmod(0o600)
        other.replace(temporary)
    assert (tmp_path / "made.txt").stat().st_mode == plain.stat().st_mode
