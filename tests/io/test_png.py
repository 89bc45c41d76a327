"""PNG pictures: exact integers both ways, another reader, golden bytes, and damage."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from any3davatar.core import InvalidInput
from any3davatar.io import FormatError, read_png, write_png
from tests.io.scenes import levels, some_picture


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, depth: int, color: int, rows: bytes, extra: bytes = b"", lace: int = 0
) -> bytes:
    """A PNG packed here from its specification; `rows` begin with their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, lace)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (37, 64), (129, 70)])
def test_round_trip_is_exact(
    tmp_path: Path, height: int, width: int, with_alpha: bool, bits: Literal[8, 16]
) -> None:
    picture = some_picture(height, width, 4)
    alpha = picture[3:] if with_alpha else None
    write_png(tmp_path / "a.png", picture[:3], alpha, bits=bits)
    rgb, got_alpha = read_png(tmp_path / "a.png")
    expected = torch.from_numpy(levels(picture, bits).astype(np.float32)).movedim(-1, 0)
    expected /= 2**bits - 1
    assert torch.equal(rgb, expected[:3])
    assert rgb.dtype == torch.float32
    assert rgb.is_contiguous()
    if got_alpha is None:
        assert not with_alpha
    else:
        assert torch.equal(got_alpha, expected[3:])
    # What was read is written again without any change.
    write_png(tmp_path / "b.png", rgb, got_alpha, bits=bits)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("bits", [8, 16])
def test_pillow_reads_what_we_write(tmp_path: Path, bits: Literal[8, 16]) -> None:
    picture = some_picture(20, 31, 4)
    write_png(tmp_path / "a.png", picture[:3], picture[3:], bits=bits)
    theirs = np.asarray(Image.open(tmp_path / "a.png"))
    ours = levels(picture, bits)
    # Pillow keeps the upper byte of 16 bits; this is why it is not used for them.
    assert np.array_equal(theirs, ours if bits == 8 else ours >> 8)


@pytest.mark.parametrize(("bits", "half"), [(8, 128), (16, 32768)])
def test_values_go_to_the_nearest_level_and_excess_is_clipped(
    tmp_path: Path, bits: Literal[8, 16], half: int
) -> None:
    top = 2**bits - 1
    values = torch.tensor([0.0, 0.4999, 0.5001, 1.4999, 1.5001, 0.5 * top, -3.0, top + 70.0]) / top
    write_png(tmp_path / "a.png", values.expand(3, 1, 8), bits=bits)
    rgb, _ = read_png(tmp_path / "a.png")
    stored = (rgb[:, 0].double() * top).round().tolist()
    assert stored == [[0, 0, 1, 1, 2, half, 0, top]] * 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_all_8_bit_kinds_of_pillow(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(levels(some_picture(9, 14, 4), 8))
    stored = picture.convert("RGB").convert(mode) if mode != "RGBA" else picture
    if mode == "LA":
        stored.putalpha(picture.getchannel("A"))
    stored.save(tmp_path / "a.png")
    rgb, alpha = read_png(tmp_path / "a.png")
    has_alpha = mode in ("LA", "RGBA")
    expected = np.asarray(stored.convert("RGBA" if has_alpha else "RGB"), np.float32) / 255
    got = rgb if alpha is None else torch.cat([rgb, alpha])
    assert np.array_equal(np.moveaxis(got.numpy(), 0, -1), expected)


def test_palette_with_transparency(tmp_path: Path) -> None:
    extra = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    extra += chunk(b"tRNS", bytes([255, 51]))
    rows = bytes([0, 0b00011000])  # indices 0, 1, 2 in two bits each
    rgb, alpha = read_png(save(tmp_path / "a.png", png(3, 1, 2, 3, rows, extra)))
    assert rgb[:, 0].T.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert alpha is not None
    assert alpha[0, 0].tolist() == [1.0, np.float32(51 / 255), 1.0]


@pytest.mark.parametrize(
    ("color", "values", "rgb", "alpha"),
    [
        (0, [7, 65535], [[7, 7, 7], [65535] * 3], None),
        (2, [1, 2, 3, 4, 5, 65535], [[1, 2, 3], [4, 5, 65535]], None),
        (4, [300, 9, 65535, 256], [[300] * 3, [65535] * 3], [9, 256]),
        (6, [1, 2, 3, 4, 5, 6, 7, 65534], [[1, 2, 3], [5, 6, 7]], [4, 65534]),
    ],
)
def test_golden_16_bit_pixels(
    tmp_path: Path, color: int, values: list[int], rgb: list[list[int]], alpha: list[int] | None
) -> None:
    rows = b"\0" + struct.pack(f">{len(values)}H", *values)
    got, got_alpha = read_png(save(tmp_path / "a.png", png(2, 1, 16, color, rows)))
    assert torch.equal(got[:, 0].T, torch.tensor(rgb, dtype=torch.float32) / 65535)
    assert (got_alpha is None) == (alpha is None)
    if got_alpha is not None:
        assert torch.equal(got_alpha[0, 0], torch.tensor(alpha, dtype=torch.float32) / 65535)


@pytest.mark.parametrize("depth", [8, 16])
def test_interlaced_pictures(tmp_path: Path, depth: int) -> None:
    # 2 x 2 pixels in Adam7: pass 1 has (0, 0), pass 6 has (1, 0), pass 7 has the second row.
    def code(*values: int) -> bytes:
        return b"\0" + struct.pack(f">{len(values)}{'B' if depth == 8 else 'H'}", *values)

    rows = code(10, 20, 30) + code(40, 50, 60) + code(70, 80, 90, 100, 110, 120)
    rgb, _ = read_png(save(tmp_path / "a.png", png(2, 2, depth, 2, rows, lace=1)))
    expected = torch.arange(10.0, 121, 10).reshape(2, 2, 3).movedim(-1, 0) / (2**depth - 1)
    assert torch.equal(rgb, expected)


def test_orientation_and_gamma_are_not_applied(tmp_path: Path) -> None:
    picture = Image.fromarray(levels(some_picture(4, 9), 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture.save(tmp_path / "a.png", exif=exif)
    content = (tmp_path / "a.png").read_bytes()
    content = content[:33] + chunk(b"gAMA", struct.pack(">I", 100000)) + content[33:]
    rgb, _ = read_png(save(tmp_path / "b.png", content))
    assert rgb.shape == (3, 4, 9)
    assert np.array_equal(np.moveaxis(rgb.numpy(), 0, -1), np.asarray(picture, np.float32) / 255)


GREY = bytes([0, 1, 2, 0, 3, 4])
GOOD = png(2, 2, 8, 0, GREY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PNG: it starts with b''"),
        (b"\xff\xd8\xff\xe0JFIF", "Is it a JPEG"),
        (GOOD[:-12], "expected pixels and an IEND chunk; it is truncated"),
        (GOOD[:-1], "it is truncated"),
        (GOOD[:20] + b"\1" + GOOD[21:], "the check sum of chunk b'IHDR' is wrong"),
        (GOOD[:8] + GOOD[33:], "chunk b'IDAT' is out of order"),
        (png(2, 2, 8, 0, GREY[:-1]), "got 5 bytes of pixels, expected 6 for 2 x 2"),
        (png(2, 2, 8, 0, GREY + b"!"), "got 7 bytes of pixels, expected 6"),
        (png(2, 2, 16, 2, bytes(25)), "got 25 bytes of pixels, expected 26"),
        (png(2, 2, 5, 0, GREY), "got colour type 0, 5 bits"),
        (png(2, 2, 8, 5, GREY), "got colour type 5, 8 bits"),
        (png(0, 2, 8, 0, GREY), "got 0 x 2 pixels, expected 1 to 67108864"),
        (png(99999, 99999, 8, 0, GREY), "got 99999 x 99999 pixels"),
        (png(8000, 8000, 16, 6, GREY), r"need 512008000 bytes, more than \d+ compressed bytes"),
        (png(2, 2, 8, 3, GREY), "palette indices, but there is no palette"),
        (png(2, 2, 8, 0, bytes([0, 1, 2, 9, 3, 4])), "got the row filter 9, expected 0 to 4"),
        (png(2, 2, 16, 0, bytes([5, *range(9)])), "got the row filter 5, expected 0 to 4"),
    ],
)
def test_damage_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_png(save(tmp_path / "a.png", content))


def test_unpackable_pixels_are_refused(tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
    broken = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"not zlib") + chunk(b"IEND", b"")
    with pytest.raises(FormatError, match="the pixels can't be unpacked"):
        read_png(save(tmp_path / "a.png", broken))


def test_bombs_are_refused_before_they_unfold(tmp_path: Path) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26)))
    bomb = png(2, 2, 8, 0, bytes(1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="got 7 bytes of pixels, expected 6"):
            read_png(save(tmp_path / "a.png", bomb))
        rgb, _ = read_png(save(tmp_path / "b.png", png(2, 2, 8, 0, GREY, text)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert torch.equal(rgb[0] * 255, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert peak < 8 << 20  # the files are below 1 MiB, what they would unfold to is 64 MiB each


@pytest.mark.border
def test_what_is_no_picture_is_not_written(tmp_path: Path) -> None:
    picture = some_picture(4, 6)
    for arguments, message in [
        ((picture[0],), r"rgb must be a floating-point \(3, H, W\) tensor"),
        ((picture.to(torch.uint8),), "got torch.uint8"),
        ((picture, picture), r"alpha must be a floating-point \(1, H, W\) tensor"),
        ((picture, picture[:1, :2]), "must have one size"),
        ((picture * float("nan"),), "must be finite"),
        ((picture[:, :0],), "a picture has 1 to 67108864 pixels; got 6 x 0"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            write_png(tmp_path / "a.png", *arguments)
    with pytest.raises(InvalidInput, match="8 or 16 bits a channel here; got 12"):
        write_png(tmp_path / "a.png", picture, bits=12)  # pyright: ignore[reportArgumentType]
    assert list(tmp_path.iterdir()) == []


def test_truncated_files_of_another_writer(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(levels(some_picture(40, 40), 8)).save(buffer, "PNG")
    for cut in range(0, len(buffer.getvalue()), 97):
        with pytest.raises(FormatError, match=r"a\.png: "):
            read_png(save(tmp_path / "a.png", buffer.getvalue()[:cut]))
