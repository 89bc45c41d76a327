"""SPZ files (Niantic): about 14 bytes a Gaussian, versions 1 to 3.

One gzip stream holds a header of 16 bytes (magic ``NGSP``, version, count, SH degree, fractional
bits of the positions, flags, reserved) and then whole columns, one after the other:

==========  ==================  ==============================================================
column      bytes a Gaussian    meaning
==========  ==================  ==============================================================
positions   9 (version 1: 6)    24-bit fixed point, little-endian (version 1: float16)
opacities   1                   opacity times 255
colours     3                   ``0.15 * 255 * sh + 127.5`` of the degree-0 coefficients
scales      3                   ``16 * (log scale + 10)``
rotations   3 (version 3: 4)    x, y, z as ``127.5 + 127.5 q``, w >= 0 follows;
                                version 3: the three smallest components, 10 bits each
SH          3 a coefficient     ``128 + 128 sh``, coefficient by coefficient, r, g, b inside
==========  ==================  ==============================================================

The format's world is x right, y up, z toward the viewer of the front: ours, so nothing is turned.
(Niantic's own converter takes PLY files to be y down; tell it otherwise for ours.) Source of these
facts: the nianticlabs/spz repository, ``src/cc/load-spz.cc``. gsply writes and reads the format
too, but unpacks gzip without a limit and takes version 1 for version 2, so it serves the tests
only. Version 4 (Zstandard) is refused: Python has no decoder for it before 3.14.
"""

import os
import struct
import zlib
from typing import Literal

import numpy as np

from any3davatar.core import Gaussians
from any3davatar.core.errors import InvalidInput
from any3davatar.io.atomic import atomic_path
from any3davatar.io.errors import FormatError
from any3davatar.io.limits import DEFLATE_RATIO_MAX
from any3davatar.io.opening import open_regular
from any3davatar.io.rows import BadRows, Rows, gaussians_from_rows, rows_of

_HEADER = struct.Struct("<4sIIBBBB")
_MAGIC = b"NGSP"
_FLAG_EXTENSIONS = 2
EXTENSIONS_LIMIT_BYTES = 1 << 20
_COLOR_SCALE = 0.15
_FRACTIONAL_BITS_MAX = 16  # 1.5e-5 units in a head of radius 1; finer bits are noise to gzip
_FIXED_MAX = (1 << 23) - 1


def read_spz(path: str | os.PathLike[str], *, on_bad_rows: BadRows = BadRows.REFUSE) -> Gaussians:
    """Read an SPZ file of version 1, 2 or 3: one set, float32.

    Extensions after the columns, and the flag that a set was trained for an antialiased
    rasteriser, are ignored.

    Raises:
        FormatError: damaged, foreign, of another version, or with rows that are no Gaussians.
        OSError: the file can't be opened.
    """
    return gaussians_from_rows(path, decode_spz(path), on_bad_rows)


def write_spz(
    path: str | os.PathLike[str], gaussians: Gaussians, *, version: Literal[2, 3] = 3
) -> None:
    """Write an SPZ file; equal sets give equal bytes.

    What comes back, at worst: positions within 2^-17 (more only for sets that reach beyond 127
    units), scales within 3.2 % (from 4.5e-5 to 374 units, clipped outside), opacities within 1/510,
    colours within 0.004 (from -0.44 to 1.44, clipped outside), higher coefficients within 1/256
    (from -1 to 0.99, clipped outside), rotations within 0.25 degrees.

    Args:
        path: the file.
        gaussians: one set.
        version: 3, or 2 for readers from before 2025. Version 2 leaves w to the rounding of x, y
            and z: rotations within 1.5 degrees for turns up to 120 degrees, 14 for half turns.

    Raises:
        InvalidInput: a batch of sets, values that no Gaussians have, another version, or
            positions beyond four million units.
        OSError: the file can't be written.
    """
    if version not in (2, 3):
        raise InvalidInput(f"SPZ is written in version 2 or 3; got {version!r}")
    rows = rows_of(gaussians)
    reach = float(np.abs(rows.means).max(initial=1e-9))
    fractional_bits = min(_FRACTIONAL_BITS_MAX, int(np.floor(np.log2(_FIXED_MAX / reach))))
    if fractional_bits < 1:
        raise InvalidInput(
            f"SPZ holds positions up to 4194303 units; got {reach:.4g}. Scale the set down"
        )
    fixed = np.rint(rows.means.astype(np.float64) * 2**fractional_bits).astype("<i4")
    columns = (
        np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 3, 4)[..., :3],
        _bytes(rows.opacities * 255),
        _bytes(rows.sh[:, 0] * (_COLOR_SCALE * 255) + 127.5),
        _bytes((np.log(rows.scales) + 10) * 16),
        _pack_first_three(rows.quats) if version == 2 else _pack_smallest_three(rows.quats),
        _bytes(rows.sh[:, 1:] * 128 + 128),
    )
    header = _HEADER.pack(
        _MAGIC, version, len(rows.means), gaussians.sh_degree, fractional_bits, 0, 0
    )
    packer = zlib.compressobj(level=6, wbits=31)  # 31: gzip framing, without a time stamp
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for part in (header, *(column.tobytes() for column in columns)):
            file.write(packer.compress(part))
        file.write(packer.flush())


def decode_spz(path: str | os.PathLike[str]) -> Rows:
    """Read an SPZ file's rows without judging them one by one."""
    with open_regular(path) as (file, size):
        packed = file.read(size)
    if packed[:4] == _MAGIC:
        raise FormatError(
            f"{path}: SPZ version 4 or later (Zstandard columns), expected version 1, 2 or 3; "
            "save it as version 3"
        )
    unpacker = zlib.decompressobj(wbits=31)
    try:
        header = unpacker.decompress(packed, _HEADER.size)
        if len(header) < _HEADER.size:
            raise FormatError(f"{path}: got {len(header)} bytes of SPZ header, expected 16")
        magic, version, n, degree, fractional_bits, flags, _ = _HEADER.unpack(header)
        if magic != _MAGIC or version not in (1, 2, 3):
            raise FormatError(
                f"{path}: got magic {magic!r}, version {version}; expected {_MAGIC!r}, version 1, "
                "2 or 3. Is this another gzip file?"
            )
        if degree > 3 or (version > 1 and not 1 <= fractional_bits <= 24):
            raise FormatError(
                f"{path}: got SH degree {degree} and {fractional_bits} fractional bits, expected "
                "0 to 3 and 1 to 24; the file is damaged"
            )
        widths = _column_widths(version, degree)
        wanted = n * sum(widths)
        if wanted > DEFLATE_RATIO_MAX * len(packed):
            raise FormatError(
                f"{path}: the header promises {n} Gaussians ({wanted} bytes), more than "
                f"{len(packed)} compressed bytes can hold; the header lies"
            )
        body = unpacker.decompress(unpacker.unconsumed_tail, wanted) if wanted else b""
        # The rest holds extensions or nothing; it must be unpacked for the check sum.
        rest = unpacker.unconsumed_tail
        extra = b"" if unpacker.eof else unpacker.decompress(rest, EXTENSIONS_LIMIT_BYTES)
    except zlib.error as error:
        raise FormatError(
            f"{path}: not a readable gzip stream ({error}), expected an SPZ file; "
            "it is damaged or of another format"
        ) from error
    allowed_extra = EXTENSIONS_LIMIT_BYTES if flags & _FLAG_EXTENSIONS else 0
    if len(body) < wanted or len(extra) > allowed_extra or not unpacker.eof:
        raise FormatError(
            f"{path}: the header promises {n} Gaussians ({wanted} bytes), got {len(body)} bytes "
            f"and {len(extra)} after them; the file is truncated or its header lies"
        )
    if unpacker.unused_data:
        raise FormatError(f"{path}: {len(unpacker.unused_data)} bytes follow the SPZ stream")
    return _decode_columns(body, n, version, fractional_bits, widths)


def _column_widths(version: int, degree: int) -> tuple[int, ...]:
    """Return the bytes a Gaussian of positions, opacities, colours, scales, rotations, SH."""
    return (
        6 if version == 1 else 9,
        1,
        3,
        3,
        4 if version == 3 else 3,
        3 * ((degree + 1) ** 2 - 1),
    )


def _decode_columns(
    body: bytes, n: int, version: int, fractional_bits: int, widths: tuple[int, ...]
) -> Rows:
    ends = np.cumsum([n * width for width in widths])[:-1]
    positions, opacities, colors, scales, rotations, rest = (
        column.reshape(n, width)
        for column, width in zip(np.split(np.frombuffer(body, np.uint8), ends), widths, strict=True)
    )
    if version == 1:
        means = positions.view("<f2").astype(np.float32)
    else:
        padded = np.zeros((n, 3, 4), np.uint8)
        padded[..., 1:] = positions.reshape(n, 3, 3)
        signed = padded.view("<i4")[..., 0] >> 8  # the shift carries the sign down
        means = signed.astype(np.float32) / np.float32(2**fractional_bits)
    base = (colors.astype(np.float32) / 255 - 0.5) / _COLOR_SCALE
    higher = (rest.reshape(n, widths[-1] // 3, 3).astype(np.float32) - 128) / 128
    return Rows(
        means=means,
        quats=_smallest_three(rotations) if version == 3 else _first_three(rotations),
        scales=np.exp(scales.astype(np.float32) / 16 - 10),
        opacities=opacities[:, 0].astype(np.float32) / 255,
        sh=np.concatenate([base[:, None], higher], axis=1),
    )


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _pack_first_three(quats: np.ndarray) -> np.ndarray:
    """Pack (w, x, y, z) as x, y, z of the representative with w >= 0."""
    positive = np.where(quats[:, :1] < 0, -quats, quats)
    return _bytes(positive[:, 1:] * 127.5 + 127.5)


def _first_three(coded: np.ndarray) -> np.ndarray:
    xyz = coded.astype(np.float32) / 127.5 - 1
    w = np.sqrt(np.clip(1 - (xyz**2).sum(axis=1, keepdims=True), 0, None))
    return np.concatenate([w, xyz], axis=1)


def _pack_smallest_three(quats: np.ndarray) -> np.ndarray:
    """Pack (w, x, y, z) as a 2-bit index and three sign-and-magnitude fields of 10 bits.

    The index counts x, y, z, w; the fields follow in that order, the last one lowest.
    """
    xyzw = np.roll(quats, -1, axis=1)
    largest = np.abs(xyzw).argmax(axis=1)
    xyzw = np.where(np.take_along_axis(xyzw, largest[:, None], axis=1) < 0, -xyzw, xyzw)
    kept = np.take_along_axis(xyzw, _KEPT[largest], axis=1)
    magnitudes = np.rint(np.abs(kept) * (511 * np.sqrt(2))).clip(0, 511).astype(np.uint32)
    fields = magnitudes | ((kept < 0).astype(np.uint32) << np.uint32(9))
    words = largest.astype(np.uint32) << np.uint32(30)
    for position, shift in enumerate((20, 10, 0)):
        words |= fields[:, position] << np.uint32(shift)
    return words.astype("<u4").view(np.uint8).reshape(-1, 4)


def _smallest_three(coded: np.ndarray) -> np.ndarray:
    words = np.ascontiguousarray(coded).view("<u4")[:, 0]
    largest = (words >> np.uint32(30)).astype(np.intp)
    fields = np.stack([(words >> np.uint32(shift)) & np.uint32(1023) for shift in (20, 10, 0)], 1)
    kept = (fields & np.uint32(511)).astype(np.float32) / np.float32(511 * np.sqrt(2))
    kept = np.where(fields & np.uint32(512), -kept, kept)
    xyzw = np.empty((len(words), 4), np.float32)
    np.put_along_axis(xyzw, _KEPT[largest], kept, axis=1)
    rest = np.sqrt(np.clip(1 - (kept**2).sum(axis=1, keepdims=True), 0, None))
    np.put_along_axis(xyzw, largest[:, None], rest, axis=1)
    return np.roll(xyzw, 1, axis=1)


# Which of x, y, z, w are stored, in order, when the component of this index is left out.
_KEPT = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
