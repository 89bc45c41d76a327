"""Videos: lossy, so claims are about order, colour, size and honesty about damage."""

import itertools
import math
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from any3davatar.core import InvalidInput
from any3davatar.io import FormatError, read_video_frame, read_video_frames, write_mp4


def moving(n: int, height: int = 48, width: int = 64) -> list[Tensor]:
    """Smooth frames (so that coding costs little) of which no two, and no two channels, agree."""
    y = torch.linspace(0, 1, height)[:, None].expand(height, width)
    x = torch.linspace(0, 1, width).expand(height, width)
    return [
        torch.stack([x, 0.5 + 0.4 * torch.sin(3 * y + 0.9 * t), 0.2 + 0.7 * t / n * y])
        for t in range(n)
    ]


def test_round_trip_keeps_order_colours_and_orientation(tmp_path: Path) -> None:
    frames = moving(12)
    write_mp4(tmp_path / "a.mp4", iter(frames))
    got = list(read_video_frames(tmp_path / "a.mp4"))
    assert len(got) == 12
    for index, frame in enumerate(got):
        assert frame.shape == (3, 48, 64)
        errors = [float((frame - other).abs().mean()) for other in frames]
        assert errors.index(min(errors)) == index
        assert errors[index] < 0.02  # half-resolution colour of smooth frames at crf 18


@pytest.mark.parametrize(
    "color", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.2, 0.7, 0.4), (1.0, 1.0, 1.0)]
)
def test_colours_survive(tmp_path: Path, color: tuple[float, float, float]) -> None:
    frame = torch.tensor(color)[:, None, None].expand(3, 32, 32)
    write_mp4(tmp_path / "a.mp4", [frame] * 3)
    got = read_video_frame(tmp_path / "a.mp4", 2).mean(dim=(1, 2))
    # A wrong matrix (BT.601 for BT.709) is off by 0.05 to 0.1; 8-bit YUV rounding by 0.01.
    torch.testing.assert_close(got, torch.tensor(color), atol=0.015, rtol=0)


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    import av

    write_mp4(tmp_path / "a.mp4", moving(10), fps=Fraction(24000, 1001))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height, stream.frames) == (64, 48, 10)
        assert stream.average_rate == Fraction(24000, 1001)
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        theirs = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    ours = [frame.movedim(0, -1).numpy() for frame in read_video_frames(tmp_path / "a.mp4")]
    np.testing.assert_array_equal(np.stack(theirs).astype(np.float32) / np.float32(255), ours)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it downloads


def test_imageio_reads_what_we_write(tmp_path: Path) -> None:
    import imageio.v3

    write_mp4(tmp_path / "a.mp4", moving(5))
    theirs = imageio.v3.imread(tmp_path / "a.mp4", plugin="pyav")
    ours = torch.stack(list(read_video_frames(tmp_path / "a.mp4"))).movedim(1, -1)
    np.testing.assert_array_equal(theirs.astype(np.float32) / np.float32(255), ours)


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, moving(8))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frame_by_index_is_exact(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", moving(40))  # long enough for frames that refer to later ones
    everything = list(read_video_frames(tmp_path / "a.mp4"))
    for index in (0, 1, 17, 39):
        assert torch.equal(read_video_frame(tmp_path / "a.mp4", index), everything[index])
    with pytest.raises(FormatError, match="the video has 40 frames; frame 40 was asked for"):
        read_video_frame(tmp_path / "a.mp4", 40)
    with pytest.raises(InvalidInput, match="numbered from 0; got -1"):
        read_video_frame(tmp_path / "a.mp4", -1)


def test_frames_are_taken_and_given_one_by_one(tmp_path: Path) -> None:
    frame = moving(1, 256, 256)[0]  # 0.75 MiB

    def many() -> Iterator[Tensor]:
        for t in range(40):
            yield frame * (0.5 + 0.5 * math.cos(t))

    tracemalloc.start()
    try:
        write_mp4(tmp_path / "a.mp4", many())
        count = sum(1 for _ in read_video_frames(tmp_path / "a.mp4"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 40
    assert peak < 12 << 20  # all 40 would take 30 MiB


def test_reading_can_stop_early(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", moving(9))
    frames = read_video_frames(tmp_path / "a.mp4")
    assert len(list(itertools.islice(frames, 2))) == 2
    del frames  # closes the file; a leak is a warning, and those are errors here


@pytest.mark.border
def test_what_is_no_video_is_not_written(tmp_path: Path) -> None:
    frame = moving(1)[0]
    path = tmp_path / "a.mp4"
    for frames, message in [
        ([], "at least one frame; got none"),
        ([frame[:, 1:]], "width and height must be even .* got 64 x 47: render or crop"),
        ([frame, frame[0]], r"frame 1 must be a floating-point \(3, H, W\) tensor"),
        ([frame, frame * float("inf")], "frame 1 must be finite"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            write_mp4(path, frames)
    for fps, crf in ((0, 18), (30, 52)):
        with pytest.raises(InvalidInput, match=r"needs fps > 0 and crf in \[0, 51\]"):
            write_mp4(path, [frame], fps=fps, crf=crf)
    assert list(tmp_path.iterdir()) == []


def test_damaged_videos_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_mp4(path, moving(30))
    content = path.read_bytes()
    for cut in (0, 11, 300, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:cut])
        with pytest.raises(FormatError, match=r"a\.mp4: "):
            list(read_video_frames(path))
    path.write_bytes(b"ply\nformat ascii 1.0\n")
    with pytest.raises(FormatError, match="not a readable video"):
        read_video_frames(path)  # refused at once, not at its first frame
    with pytest.raises(FormatError, match="got a folder"):
        read_video_frames(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_video_frame(tmp_path / "absent.mp4", 0)


def test_sound_is_no_video(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(800))
    with pytest.raises(FormatError, match="holds no video; is it a sound file"):
        read_video_frames(tmp_path / "a.wav")
