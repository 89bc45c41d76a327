"""PNG pictures, 8 or 16 bits a channel, as float32 tensors with straight alpha.

Values are the file's own, divided by 255 or 65535: sRGB-encoded by our convention. Gamma, colour
profile and EXIF chunks are not applied (a rotated photograph comes out as it was stored); upright
photographs are the business of whoever reads portraits. Pillow codes 8-bit files; it would cut 16
bits down to 8 without a word, so those go through FFmpeg's codec (PyAV), which is exact.
"""

import io
import os
import struct
import zlib
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.io.atomic import atomic_path
from any3davatar.io.errors import FormatError
from any3davatar.io.limits import DEFLATE_RATIO_MAX, PIXELS_MAX
from any3davatar.io.opening import read_whole

FILE_LIMIT_BYTES = 1 << 30
COMPRESSION_LEVEL = 3  # within 4 % of the default's size in two thirds of its time
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> stored channels
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_FILTER_MAX = 4
# x offset, y offset, x step, y step of the passes of an interlaced file (PNG specification, 8.2).
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
_FFMPEG_CHANNELS = {"gray16be": 1, "ya16be": 2, "rgb48be": 3, "rgba64be": 4}


def write_png(
    path: str | os.PathLike[str],
    rgb: Float[Tensor, "3 H W"],
    alpha: Float[Tensor, "1 H W"] | None = None,
    *,
    bits: Literal[8, 16] = 8,
) -> None:
    """Write a picture; equal pictures give equal bytes.

    Values are clipped to [0, 1], as a display would, multiplied by 255 or 65535 in float64, and
    rounded to the nearest integer, halves to the even one (0.5 becomes 128).

    Args:
        path: the file.
        rgb: (3, H, W) sRGB-encoded colour, not premultiplied.
        alpha: (1, H, W) coverage, or None for an opaque picture without an alpha channel.
        bits: bits a channel.

    Raises:
        InvalidInput: wrong shapes, a NaN or infinite value, or another number of bits.
        OSError: the file can't be written.
    """
    if bits not in (8, 16):
        raise InvalidInput(f"a PNG has 8 or 16 bits a channel here; got {bits!r}")
    height, width = _checked_size(rgb, alpha)
    planes = [
        np.asarray(plane.detach().cpu().float()) for plane in (rgb, alpha) if plane is not None
    ]
    channels = np.concatenate(planes)
    if not np.isfinite(channels).all():
        raise InvalidInput("a picture must be finite; got NaN or infinite values")
    levels = np.rint(channels.clip(0, 1).astype(np.float64) * (2**bits - 1))
    pixels = np.moveaxis(levels.astype(f"u{bits // 8}"), 0, -1)  # (H, W, 3 or 4)
    if bits == 8:
        content = _encode_8(np.ascontiguousarray(pixels))
    else:
        content = _encode_16(np.ascontiguousarray(pixels), width, height)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_png(
    path: str | os.PathLike[str],
) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "1 H W"] | None]:
    """Read a picture of any PNG colour type; grey becomes three equal channels.

    Returns:
        Colour and straight alpha, float32 in [0, 1]; alpha is None where the file has none.

    Raises:
        FormatError: damaged, truncated, not a PNG, or larger than 8192 x 8192 pixels in all.
        OSError: the file can't be opened.
    """
    content, depth = _essential_chunks(path, read_whole(path, FILE_LIMIT_BYTES))
    pixels = _decode_16(path, content) if depth == 16 else _decode_8(path, content)
    # One float32 division: k / 255 is then the float32 number nearest to it.
    top = np.float32(65535 if depth == 16 else 255)
    planes = torch.from_numpy(np.moveaxis(pixels, -1, 0).astype(np.float32, order="C") / top)
    return planes[:3], (planes[3:] if len(planes) == 4 else None)


def _checked_size(rgb: Tensor, alpha: Tensor | None) -> tuple[int, int]:
    for name, tensor, channels in (("rgb", rgb, 3), ("alpha", alpha, 1)):
        if tensor is not None and (
            tensor.ndim != 3 or tensor.shape[0] != channels or not tensor.is_floating_point()
        ):
            raise InvalidInput(
                f"{name} must be a floating-point ({channels}, H, W) tensor; got "
                f"{tensor.dtype} {tuple(tensor.shape)}"
            )
    if alpha is not None and alpha.shape[1:] != rgb.shape[1:]:
        raise InvalidInput(
            f"rgb and alpha must have one size; got {tuple(rgb.shape)} and {tuple(alpha.shape)}"
        )
    height, width = rgb.shape[1:]
    if not 0 < height * width <= PIXELS_MAX:
        raise InvalidInput(f"a picture has 1 to {PIXELS_MAX} pixels; got {width} x {height}")
    return height, width


def _encode_8(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=COMPRESSION_LEVEL)
    return buffer.getvalue()


def _encode_16(pixels: np.ndarray, width: int, height: int) -> bytes:
    from av.codec import CodecContext
    from av.video.frame import VideoFrame

    layout = "rgb48be" if pixels.shape[-1] == 3 else "rgba64be"
    encoder = CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, layout
    encoder.time_base = Fraction(1)
    frame = VideoFrame.from_ndarray(pixels, format=layout)
    packets = encoder.encode(frame) + encoder.encode(None)
    return b"".join(bytes(packet) for packet in packets)


def _essential_chunks(path: str | os.PathLike[str], content: bytes) -> tuple[bytes, int]:
    """Check a PNG's structure; return it with only the chunks that make its pixels, and its depth.

    Decoders pass over check sums, pad truncated pixels, and unpack text and profiles that nobody
    asked for. What they get from here is whole and small.
    """
    if not content.startswith(_SIGNATURE):
        raise FormatError(
            f"{path}: not a PNG: it starts with {content[:8]!r}. Is it a JPEG or a Git LFS pointer "
            "with the wrong suffix?"
        )
    kept: list[bytes] = [_SIGNATURE]
    pixels: list[bytes] = []
    position, header, ended = len(_SIGNATURE), b"", False
    while position + 12 <= len(content) and not ended:
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        body = content[position + 8 : end - 4]
        (checksum,) = struct.unpack_from(">I", content, end - 4)
        if checksum != zlib.crc32(kind + body):
            raise FormatError(f"{path}: the check sum of chunk {kind!r} is wrong; it is damaged")
        if (not header) != (kind == b"IHDR"):
            raise FormatError(f"{path}: chunk {kind!r} is out of order, expected one IHDR first")
        header = header or body
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(content[position:end])
        if kind == b"IDAT":
            pixels.append(body)
        ended = kind == b"IEND"
        position = end
    if header[9:10] == b"\x03" and not any(part[4:8] == b"PLTE" for part in kept):
        raise FormatError(f"{path}: the pixels are palette indices, but there is no palette")
    if not ended or not pixels:
        raise FormatError(
            f"{path}: the PNG ends after {position} bytes of whole chunks, expected pixels and an "
            "IEND chunk; it is truncated"
        )
    return b"".join(kept), _check_pixels(path, header, b"".join(pixels))


def _check_pixels(path: str | os.PathLike[str], header: bytes, packed: bytes) -> int:
    if len(header) != 13:
        raise FormatError(f"{path}: the IHDR chunk has {len(header)} bytes, expected 13")
    width, height, depth, color, compression, filters, interlace = struct.unpack(">IIBBBBB", header)
    if depth not in _DEPTHS.get(color, ()) or (compression, filters) != (0, 0) or interlace > 1:
        raise FormatError(
            f"{path}: got colour type {color}, {depth} bits, compression {compression}, filter "
            f"{filters}, interlace {interlace}; no PNG has these together: it is damaged"
        )
    if not 0 < width * height <= PIXELS_MAX:
        raise FormatError(
            f"{path}: got {width} x {height} pixels, expected 1 to {PIXELS_MAX} in all; "
            "resize the picture"
        )
    row_bits = depth * _CHANNELS[color]
    passes: list[tuple[int, int]] = []  # rows, bytes a row
    for x0, y0, x_step, y_step in _ADAM7 if interlace else _WHOLE:
        columns, rows = -(-(width - x0) // x_step), -(-(height - y0) // y_step)
        if columns > 0 and rows > 0:
            passes.append((rows, 1 + -(-columns * row_bits // 8)))  # a filter byte comes first
    expected = sum(rows * row_bytes for rows, row_bytes in passes)
    if expected > DEFLATE_RATIO_MAX * len(packed):
        raise FormatError(
            f"{path}: {width} x {height} pixels need {expected} bytes, more than {len(packed)} "
            "compressed bytes can hold; the header lies"
        )
    unpacker = zlib.decompressobj()
    try:
        filtered = np.frombuffer(unpacker.decompress(packed, expected + 1), np.uint8)
    except zlib.error as error:
        raise FormatError(f"{path}: the pixels can't be unpacked ({error})") from error
    if len(filtered) != expected:
        raise FormatError(
            f"{path}: got {len(filtered)} bytes of pixels, expected {expected} for {width} x "
            f"{height}; the file is truncated or its header lies"
        )
    for rows, row_bytes in passes:
        part, filtered = np.split(filtered, [rows * row_bytes])
        if (part[::row_bytes] > _FILTER_MAX).any():
            raise FormatError(
                f"{path}: got the row filter {part[::row_bytes].max()}, expected 0 to "
                f"{_FILTER_MAX}; the pixels are damaged"
            )
    return depth


def _decode_8(path: str | os.PathLike[str], content: bytes) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.load()
            has_alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
            return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
        raise FormatError(f"{path}: the pixels can't be decoded ({error})") from error


def _decode_16(path: str | os.PathLike[str], content: bytes) -> np.ndarray:
    from av.codec import CodecContext
    from av.error import FFmpegError
    from av.packet import Packet

    decoder = CodecContext.create("png", "r")
    try:
        frames = decoder.decode(Packet(content)) + decoder.decode(None)
    except FFmpegError as error:
        raise FormatError(f"{path}: the pixels can't be decoded ({error})") from error
    if len(frames) != 1 or frames[0].format.name not in _FFMPEG_CHANNELS:
        layouts = [frame.format.name for frame in frames]
        raise FormatError(f"{path}: got {layouts} from the decoder, expected one 16-bit picture")
    frame = frames[0]
    channels = _FFMPEG_CHANNELS[frame.format.name]
    plane = np.frombuffer(memoryview(frame.planes[0]), ">u2").reshape(
        frame.height, -1
    )  # rows are padded
    pixels = plane[:, : frame.width * channels].reshape(frame.height, frame.width, channels)
    color = pixels[..., :1].repeat(3, axis=-1) if channels < 3 else pixels[..., :3]
    return color if channels in (1, 3) else np.concatenate([color, pixels[..., -1:]], axis=-1)
