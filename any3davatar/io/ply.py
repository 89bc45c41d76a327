"""3D Gaussians in PLY files: every dialect that methods write, and the one that viewers read.

"PLY" names a family of files. All store log-scales, opacity logits and quaternions (w, x, y, z) of
any length; they differ in their columns:

* the original release (INRIA, Kerbl et al. 2023): ``x y z nx ny nz f_dc_0..2 f_rest_0..44 opacity
  scale_0..2 rot_0..3``, the coefficients of one colour channel side by side in ``f_rest``;
* without normals, without ``f_rest`` (TRELLIS, HQ-Head), with 8-bit colours and 45 zeros in
  ``f_rest`` (FaceLift, DiffusionGS), with further columns or tables (cameras, versions);
* RGB in place of coefficients in ``f_dc`` (LAM): nothing in the file says so, so the caller must
  (`ColorRule`);
* quantised in chunks of 256 (SuperSplat, PlayCanvas): see `any3davatar.io.compressed_ply`.

So columns are found by name and type, never by position, and what is not a set of world-space
Gaussians is refused by its own name. The files are read with numpy records in blocks. gsply 0.4.6,
the permissive library for this task, takes every column for a float32: files with 8-bit colours
come out as nonsense without an error, float64 and big-endian files are refused, values are not
checked. It serves the tests, which compare with it where it can read.

A PLY file does not name its world. `write_ply` stores ours (+y up, face along +z) unchanged;
viewers made for photogrammetry scenes (y down) show it upside down until it is turned.
"""

import os
import re
from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO

import numpy as np

from any3davatar.core import Gaussians
from any3davatar.core.sh import C0
from any3davatar.io.atomic import atomic_path
from any3davatar.io.compressed_ply import decode_compressed, is_compressed
from any3davatar.io.errors import FormatError
from any3davatar.io.opening import open_regular
from any3davatar.io.ply_header import (
    PlyElement,
    PlyHeader,
    element_offset,
    read_ascii_rows,
    read_binary_blocks,
    read_ply_header,
)
from any3davatar.io.rows import BadRows, Rows, gaussians_from_rows, rows_of

ROWS_PER_BLOCK = 4096  # about 1 MB of degree-3 rows: stays in a core's cache
LOGIT_LIMIT = 104.0  # sigmoid(+-104) is exactly 1 and 0 in float32, and finite for every viewer
RGB_SLACK = 0.01  # networks widen their sigmoid a little (LAM: 1.002 x - 0.001)

_MEANS = ("x", "y", "z")
_BASE_COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_REQUIRED = (*_MEANS, *_BASE_COLORS, "opacity", *_SCALES, *_QUATS)
_NORMALS = ("nx", "ny", "nz")
_REST = re.compile(r"f_rest_\d+")
_REST_COUNTS = (0, 9, 24, 45)


class ColorRule(Enum):
    """What ``f_dc`` holds: SH coefficients of degree 0, or RGB in [0, 1].

    Files do not say; the method that wrote them decides.
    """

    SH = "sh"
    RAW_RGB = "raw-rgb"


def read_ply(
    path: str | os.PathLike[str],
    *,
    color: ColorRule = ColorRule.SH,
    on_bad_rows: BadRows = BadRows.REFUSE,
) -> Gaussians:
    """Read Gaussians from a PLY file of any dialect.

    The world is the file's own (see `any3davatar.core.frames`). The SH degree is the file's, also
    where all higher coefficients are zero. Columns that Gaussians do not have are ignored;
    `any3davatar.io.gaussian_file_info` lists them.

    Args:
        path: the file.
        color: what ``f_dc`` holds.
        on_bad_rows: refuse a file with rows that are no Gaussians, or drop them and log how many.

    Returns:
        One set (no batch dimension), float32, on the CPU.

    Raises:
        FormatError: a damaged file, a PLY that is no set of world-space Gaussians, or bad rows.
        OSError: the file can't be opened.
    """
    return gaussians_from_rows(path, decode_ply(path, color), on_bad_rows)


def write_ply(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write Gaussians as the original release does: binary little-endian, normals zero.

    Opacities of exactly 0 and 1, whose logits are infinite, are stored as logits of -104 and 104:
    every reader gets 0 and 1 back. Other values come back to float32 rounding of the logarithm:
    within 1e-5 of a scale and 1e-6 of an opacity.

    Raises:
        InvalidInput: a batch of sets, or values that no Gaussians have.
        FileNotFoundError: the folder does not exist.
        OSError: the file can't be written.
    """
    rows = rows_of(gaussians)
    n, coefficients, _ = rows.sh.shape
    rest = [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    names = [*_MEANS, *_NORMALS, *_BASE_COLORS, *rest, "opacity", *_SCALES, *_QUATS]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for name in names]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode("ascii"))
        block = np.zeros((min(n, ROWS_PER_BLOCK), len(names)), "<f4")  # zeros: the normals
        for first in range(0, n, ROWS_PER_BLOCK):
            part = rows.select(slice(first, first + ROWS_PER_BLOCK))
            file.write(_encode_into(block[: len(part.means)], part).data)


def _encode_into(block: np.ndarray, rows: Rows) -> np.ndarray:
    """Fill a block with rows, columns in the order of the original release; return it."""
    per_channel = rows.sh.shape[1] - 1
    opacities = rows.opacities.astype(np.float64)
    with np.errstate(divide="ignore"):
        logits = np.log(opacities) - np.log1p(-opacities)
    block[:, :3] = rows.means
    block[:, 6:9] = rows.sh[:, 0]
    for channel in range(3):
        first = 9 + channel * per_channel
        block[:, first : first + per_channel] = rows.sh[:, 1:, channel]
    block[:, -8] = logits.clip(-LOGIT_LIMIT, LOGIT_LIMIT)
    block[:, -7:-4] = np.log(rows.scales.astype(np.float64))
    block[:, -4:] = rows.quats
    return block


def decode_ply(path: str | os.PathLike[str], color: ColorRule) -> Rows:
    """Read a PLY file's rows and activate them, without judging them one by one."""
    with open_regular(path) as (file, size):
        header = read_ply_header(path, file)
        if is_compressed(header):
            if color is not ColorRule.SH:
                raise FormatError(
                    f"{path}: a compressed PLY always holds colours of its own kind; got "
                    "ColorRule.RAW_RGB, expected ColorRule.SH. Read it with the default rule"
                )
            return decode_compressed(path, file, header, size)
        vertex = gaussian_element(path, header)
        n = vertex.count
        rest = rest_names(vertex)
        # The size check of `_blocks` comes before these allocations.
        blocks = _blocks(path, file, header, vertex, size)
        rows = Rows(
            means=np.empty((n, 3), np.float32),
            quats=np.empty((n, 4), np.float32),
            scales=np.empty((n, 3), np.float32),
            opacities=np.empty(n, np.float32),
            sh=np.empty((n, 1 + len(rest) // 3, 3), np.float32),
        )
        targets = _targets(rows, rest)
        # float64 columns may overflow float32, and exp may overflow: both become infinite and are
        # judged with the other bad rows.
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for first, block in blocks:
                part = slice(first, first + len(block))
                for name, column in targets.items():
                    column[part] = block[name]
            np.exp(rows.scales, out=rows.scales)
            _sigmoid_or_nan(rows.opacities)
    if color is ColorRule.RAW_RGB:
        _replace_rgb(path, rows)
    return rows


def _blocks(
    path: str | os.PathLike[str],
    file: BinaryIO,
    header: PlyHeader,
    vertex: PlyElement,
    file_size: int,
) -> Iterator[tuple[int, np.ndarray]]:
    if header.encoding == "ascii":
        table = read_ascii_rows(path, file, header, vertex, file_size)
        named = np.dtype([(name, np.float64) for name in vertex.names])
        return iter([(0, np.ascontiguousarray(table).view(named)[:, 0])])
    offset = element_offset(path, header, vertex, file_size)
    return read_binary_blocks(path, file, vertex, offset, ROWS_PER_BLOCK)


def _targets(rows: Rows, rest: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return, for each column of the file, the (N,) view of the array that it fills."""
    targets = {"opacity": rows.opacities}
    for names, array in ((_MEANS, rows.means), (_SCALES, rows.scales), (_QUATS, rows.quats)):
        targets |= {name: array[:, axis] for axis, name in enumerate(names)}
    targets |= {name: rows.sh[:, 0, channel] for channel, name in enumerate(_BASE_COLORS)}
    per_channel = len(rest) // 3
    for i in range(len(rest)):
        targets[f"f_rest_{i}"] = rows.sh[:, 1 + i % per_channel, i // per_channel]
    return targets


def _sigmoid_or_nan(logits: np.ndarray) -> None:
    """Replace logits by opacities in place; an infinite logit is a bad value, not 0 or 1."""
    finite = np.isfinite(logits)
    np.negative(logits, out=logits)
    np.exp(logits, out=logits)
    logits += 1
    np.reciprocal(logits, out=logits)
    logits[~finite] = np.nan


def _replace_rgb(path: str | os.PathLike[str], rows: Rows) -> None:
    if has_higher_coefficients(rows):
        raise FormatError(
            f"{path}: f_rest holds view-dependent colour, which raw RGB can't have; "
            "read the file with ColorRule.SH"
        )
    base = rows.sh[:, 0]
    finite = base[np.isfinite(base)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < -RGB_SLACK or high > 1 + RGB_SLACK:
        raise FormatError(
            f"{path}: f_dc spans [{low:.3g}, {high:.3g}], expected RGB in [0, 1]; these are "
            "coefficients: read the file with ColorRule.SH"
        )
    with np.errstate(invalid="ignore"):  # signalling NaNs are judged with the other bad rows
        rows.sh[:, 0] = (base - 0.5) / C0


def has_higher_coefficients(rows: Rows) -> bool:
    """Return whether any coefficient above degree 0 is not zero."""
    with np.errstate(invalid="ignore"):  # signalling NaNs are judged with the other bad rows
        return bool(rows.sh[:, 1:].any())


def rest_names(vertex: PlyElement) -> tuple[str, ...]:
    """Return the names of the higher coefficients, in file order."""
    return tuple(name for name in vertex.names if _REST.fullmatch(name))


def ignored_names(vertex: PlyElement) -> tuple[str, ...]:
    """Return the columns that `read_ply` passes over, normals left out."""
    known = {*_REQUIRED, *_NORMALS, *rest_names(vertex)}
    return tuple(name for name in vertex.names if name not in known)


def dialect_words(header: PlyHeader, vertex: PlyElement, rows: Rows) -> tuple[str, ...]:
    """Return what sets this file apart from the original release's, in words."""
    names = set(vertex.names)
    extra_tables = [element.name for element in header.elements if element is not vertex]
    base = rows.sh[:, 0]
    with np.errstate(invalid="ignore"):  # as above
        rgb_like = bool(base.size and ((base >= 0) & (base <= 1)).all())
    words = {
        header.encoding.replace("_", " "): header.encoding != "binary_little_endian",
        "no normals": not names.issuperset(_NORMALS),
        "8-bit colours beside f_dc": names.issuperset(("red", "green", "blue")),
        "f_rest all zero": rows.sh.shape[1] > 1 and not has_higher_coefficients(rows),
        "float64": any(p.dtype is not None and p.dtype.itemsize == 8 for p in vertex.properties),
        "f_dc all in [0, 1]: raw RGB?": rgb_like,
        f"further elements: {', '.join(extra_tables)}": bool(extra_tables),
    }
    return tuple(word for word, holds in words.items() if holds)


def gaussian_element(path: str | os.PathLike[str], header: PlyHeader) -> PlyElement:
    """Return the element that holds the Gaussians, or refuse the file by what it is instead.

    Raises:
        FormatError: a mesh, a point cloud, Gaussians bound to a mesh, or columns missing or of an
            unexpected type.
    """
    vertex = header.element("vertex")
    if vertex is None:
        tables = ", ".join(element.name for element in header.elements) or "none"
        raise FormatError(
            f"{path}: no element 'vertex'; got elements: {tables}. This PLY holds no Gaussians"
        )
    names = set(vertex.names)
    if (
        header.element("base_vertex") is not None
        or any(name.startswith("binding") for name in names)
        or any(element.name.startswith("delta_vertex") for element in header.elements)
    ):
        raise FormatError(
            f"{path}: these Gaussians are bound to the triangles of a mesh (CAP4D, "
            "GaussianAvatars): their positions are local to a face, so they make no picture on "
            "their own. Expected Gaussians in world space; export them posed, or render them with "
            "the method's own code"
        )
    if not names & {"opacity", *_SCALES, *_QUATS}:
        faces = header.element("face") or header.element("faces")
        kind = "a mesh" if faces is not None and faces.count else "a point cloud"
        raise FormatError(
            f"{path}: this is {kind}, not a set of Gaussians: expected the properties opacity, "
            f"scale_0..2 and rot_0..3, got {', '.join(vertex.names[:12]) or 'none'}"
        )
    if vertex.has_lists:
        lists = [prop.name for prop in vertex.properties if prop.dtype is None]
        raise FormatError(
            f"{path}: element 'vertex' has the list property {lists[0]!r}; expected numbers only. "
            "Export the Gaussians without it"
        )
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        flat = " Flat (2D) Gaussians have two scales." if missing == ["scale_2"] else ""
        raise FormatError(
            f"{path}: element 'vertex' lacks {', '.join(missing)}; expected "
            f"{', '.join(_REQUIRED)}.{flat} Export the file again as standard 3DGS"
        )
    rest = rest_names(vertex)
    if len(rest) not in _REST_COUNTS or set(rest) != {f"f_rest_{i}" for i in range(len(rest))}:
        raise FormatError(
            f"{path}: got {len(rest)} f_rest properties, expected f_rest_0.. without gaps, "
            "numbering 0, 9, 24 or 45 (SH degree 0 to 3)"
        )
    gaussian_columns = {*_REQUIRED, *rest}
    for prop in vertex.properties:
        if prop.name in gaussian_columns and (prop.dtype is None or prop.dtype.kind != "f"):
            raise FormatError(
                f"{path}: property {prop.name!r} has type {prop.dtype}, expected float or double; "
                "quantised files are read only in the compressed PLY and SPZ formats"
            )
    return vertex
