"""Compressed PLY, the format of SuperSplat and the PlayCanvas engine (read only).

Each 256 Gaussians share a row of the element ``chunk``: the bounds of their positions, log-scales
and, in newer files, colours. A row of ``vertex`` is four 32-bit words that place a Gaussian between
those bounds:

* ``packed_position`` and ``packed_scale``: x, y, z in 11, 10 and 11 bits, x highest;
* ``packed_rotation``: 2 bits that say which of w, x, y, z was left out as the largest (and is
  positive), then the other three in 10 bits each, over [-1/sqrt 2, 1/sqrt 2];
* ``packed_color``: r, g, b, opacity in 8 bits each, r highest.

Higher SH coefficients are bytes in the element ``sh``, over [-4, 4], channel by channel. Source of
these facts: the playcanvas/engine and playcanvas/supersplat repositories. gsply reads the format
too, but trusts the header's counts in compiled code without bounds checks, so it serves the tests
only.
"""

import os
from typing import BinaryIO

import numpy as np

from any3davatar.core.sh import C0
from any3davatar.io.errors import FormatError
from any3davatar.io.ply_header import PlyElement, PlyHeader, element_offset, read_binary_blocks
from any3davatar.io.rows import Rows

CHUNK_ROWS = 256
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_BOUNDS = {
    "position": (("min_x", "min_y", "min_z"), ("max_x", "max_y", "max_z")),
    "scale": (
        ("min_scale_x", "min_scale_y", "min_scale_z"),
        ("max_scale_x", "max_scale_y", "max_scale_z"),
    ),
    "color": (("min_r", "min_g", "min_b"), ("max_r", "max_g", "max_b")),
}
_REST_COUNTS = (9, 24, 45)


def is_compressed(header: PlyHeader) -> bool:
    """Return whether a PLY is (or tries to be) of this format."""
    vertex = header.element("vertex")
    return vertex is not None and any(name in vertex.names for name in _PACKED)


def decode_compressed(
    path: str | os.PathLike[str], file: BinaryIO, header: PlyHeader, file_size: int
) -> Rows:
    """Read the rows of a compressed PLY.

    Raises:
        FormatError: elements, columns, types or counts that do not fit together.
    """
    vertex = _element(path, header, "vertex", _PACKED, "u4")
    n = vertex.count
    has_colors = (chunk := header.element("chunk")) is not None and "min_r" in chunk.names
    bounds = [name for key in ("position", "scale") for names in _BOUNDS[key] for name in names]
    if has_colors:
        bounds += [name for names in _BOUNDS["color"] for name in names]
    chunk = _element(path, header, "chunk", tuple(bounds), "f4")
    if chunk.count != -(-n // CHUNK_ROWS):
        raise FormatError(
            f"{path}: got {chunk.count} chunks for {n} Gaussians, expected {-(-n // CHUNK_ROWS)} "
            f"(one for each {CHUNK_ROWS}); the file is damaged"
        )
    words = _table(path, file, header, vertex, file_size)
    limits = _table(path, file, header, chunk, file_size)
    row_chunk = np.arange(n) // CHUNK_ROWS

    def between_bounds(key: str, fractions: np.ndarray) -> np.ndarray:
        low, high = (
            np.stack([limits[name] for name in names], axis=-1)[row_chunk] for names in _BOUNDS[key]
        )
        return (low + fractions * (high - low)).astype(np.float32)

    rgba = _fractions(words["packed_color"], (24, 16, 8, 0), (8, 8, 8, 8))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        rgb = between_bounds("color", rgba[:, :3]) if has_colors else rgba[:, :3]
        return Rows(
            means=between_bounds("position", _three(words["packed_position"])),
            quats=_quats(words["packed_rotation"]),
            scales=np.exp(between_bounds("scale", _three(words["packed_scale"]))),
            opacities=rgba[:, 3],
            sh=np.concatenate(
                [
                    ((rgb - 0.5) / C0).astype(np.float32)[:, None],
                    _rest(path, file, header, n, file_size),
                ],
                axis=1,
            ),
        )


def _fractions(words: np.ndarray, shifts: tuple[int, ...], bits: tuple[int, ...]) -> np.ndarray:
    """Return bit fields of 32-bit words as float32 in [0, 1], one column a field."""
    fields = [
        ((words >> np.uint32(shift)) & np.uint32((1 << width) - 1)) / np.float32((1 << width) - 1)
        for shift, width in zip(shifts, bits, strict=True)
    ]
    return np.stack(fields, axis=-1).astype(np.float32)


def _three(words: np.ndarray) -> np.ndarray:
    return _fractions(words, (21, 11, 0), (11, 10, 11))


def _quats(words: np.ndarray) -> np.ndarray:
    others = (_fractions(words, (20, 10, 0), (10, 10, 10)) - 0.5) * np.float32(np.sqrt(2))
    largest = np.sqrt(np.clip(1 - (others**2).sum(axis=1), 0, None))
    left_out = (words >> np.uint32(30)).astype(np.intp)
    # The components that were stored, in order, for each choice of the one left out.
    stored = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[left_out]
    quats = np.empty((len(words), 4), np.float32)
    np.put_along_axis(quats, stored, others, axis=1)
    np.put_along_axis(quats, left_out[:, None], largest[:, None], axis=1)
    return quats


def _rest(
    path: str | os.PathLike[str], file: BinaryIO, header: PlyHeader, n: int, file_size: int
) -> np.ndarray:
    higher = header.element("sh")
    if higher is None:
        return np.empty((n, 0, 3), np.float32)
    count = len(higher.names)
    if count not in _REST_COUNTS:
        raise FormatError(
            f"{path}: element 'sh' has {count} properties, expected 9, 24 or 45 (SH degree 1 to 3)"
        )
    element = _element(path, header, "sh", tuple(f"f_rest_{i}" for i in range(count)), "u1")
    if element.count != n:
        raise FormatError(
            f"{path}: got {element.count} rows of 'sh' for {n} Gaussians, expected one each"
        )
    table = _table(path, file, header, element, file_size)
    coded = np.stack([table[f"f_rest_{i}"] for i in range(count)], axis=-1).reshape(
        n, 3, count // 3
    )
    # The centre of each of 256 bins over [-4, 4].
    return ((coded.astype(np.float32) + 0.5) / 32 - 4).transpose(0, 2, 1)


def _element(
    path: str | os.PathLike[str],
    header: PlyHeader,
    name: str,
    columns: tuple[str, ...],
    number: str,
) -> PlyElement:
    element = header.element(name)
    types = {} if element is None else {prop.name: prop.dtype for prop in element.properties}
    wrong = [
        column
        for column in columns
        if (dtype := types.get(column)) is None or dtype.str[1:] != number
    ]
    if element is None or wrong or header.encoding == "ascii":
        raise FormatError(
            f"{path}: a compressed PLY is binary and has an element {name!r} with {columns[0]}.."
            f"{columns[-1]} of type {number}; got {header.encoding}, "
            f"missing or of another type: {', '.join(wrong[:4]) or 'none'}. Export it again"
        )
    return element


def _table(
    path: str | os.PathLike[str],
    file: BinaryIO,
    header: PlyHeader,
    element: PlyElement,
    file_size: int,
) -> np.ndarray:
    offset = element_offset(path, header, element, file_size)
    blocks = read_binary_blocks(path, file, element, offset, max(element.count, 1))
    return next((block for _, block in blocks), np.empty(0, element.row_dtype))
