"""Gaussians in any of the file formats, chosen by the suffix of the file's name."""

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from any3davatar.core import Gaussians
from any3davatar.io.compressed_ply import is_compressed
from any3davatar.io.errors import FormatError
from any3davatar.io.opening import open_regular
from any3davatar.io.ply import (
    ColorRule,
    decode_ply,
    dialect_words,
    gaussian_element,
    ignored_names,
    read_ply,
    write_ply,
)
from any3davatar.io.ply_header import read_ply_header
from any3davatar.io.rows import BadRows, Rows, bad_row_masks
from any3davatar.io.safetensors_file import read_gaussian_tensors, write_gaussian_tensors
from any3davatar.io.splat import decode_splat, read_splat, write_splat
from any3davatar.io.spz import decode_spz, read_spz, write_spz

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


GAUSSIAN_FORMATS = (".ply", ".splat", ".spz", ".safetensors")  # suffixes


@dataclass(frozen=True)
class GaussianFileInfo:
    """What a file of Gaussians holds.

    Attributes:
        path: the file.
        format: the format's name.
        dialect: what is unusual about it, in words.
        count: rows, bad ones included.
        bad_rows: rows that are no Gaussians (NaN, infinity, zero quaternion or scale).
        sh_degree: 0 to 3.
        properties: the file's own names of what it stores a Gaussian.
        ignored_properties: those among them that the reader does not use.
        bounds_min: smallest x, y, z of the good rows' centres, world units; None without any.
        bounds_max: largest x, y, z.
        opacity_quantiles: minimum, 5 %, median, 95 % and maximum of the good rows' opacities.
        scale_quantiles: the same of all their standard deviations, world units.
        size_bytes: size of the file.
    """

    path: Path
    format: str
    dialect: tuple[str, ...]
    count: int
    bad_rows: int
    sh_degree: int
    properties: tuple[str, ...]
    ignored_properties: tuple[str, ...]
    bounds_min: tuple[float, float, float] | None
    bounds_max: tuple[float, float, float] | None
    opacity_quantiles: tuple[float, ...] | None
    scale_quantiles: tuple[float, ...] | None
    size_bytes: int


def read_gaussians(
    path: str | os.PathLike[str],
    *,
    color: ColorRule = ColorRule.SH,
    on_bad_rows: BadRows = BadRows.REFUSE,
) -> Gaussians:
    """Read a .ply, .splat, .spz or .safetensors file.

    Args:
        path: the file.
        color: what a PLY's ``f_dc`` holds; the other formats leave no choice.
        on_bad_rows: refuse a file with rows that are no Gaussians, or drop them and log how many
            (a .safetensors file is always refused: this library wrote it, and wrote no such rows).

    Returns:
        One set (no batch dimension) on the CPU, float32 (.safetensors: as it was written).

    Raises:
        FormatError: another suffix, or a file that its reader refuses.
        OSError: the file can't be opened.
    """
    suffix = _suffix_of(path)
    if suffix == ".ply":
        return read_ply(path, color=color, on_bad_rows=on_bad_rows)
    if color is not ColorRule.SH:
        raise FormatError(
            f"{path}: got the colour rule {color.value!r} for a {suffix} file, whose colours are "
            f"fixed by its format; only PLY files take one. Read it with {ColorRule.SH.value!r}"
        )
    if suffix == ".splat":
        return read_splat(path, on_bad_rows=on_bad_rows)
    if suffix == ".spz":
        return read_spz(path, on_bad_rows=on_bad_rows)
    return read_gaussian_tensors(path)


def write_gaussians(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write a .ply, .splat, .spz or .safetensors file with its writer's own defaults.

    Raises:
        FormatError: another suffix, or Gaussians that the format can't hold.
        InvalidInput: a batch of sets, or values that no Gaussians have.
        OSError: the file can't be written.
    """
    write = {
        ".ply": write_ply,
        ".splat": write_splat,
        ".spz": write_spz,
        ".safetensors": write_gaussian_tensors,
    }[_suffix_of(path)]
    write(path, gaussians)


def gaussian_file_info(path: str | os.PathLike[str]) -> GaussianFileInfo:
    """Describe a file of Gaussians; rows that are no Gaussians are counted, not refused.

    Raises:
        FormatError: another suffix, or a file that its reader refuses for other reasons.
        OSError: the file can't be opened.
    """
    suffix = _suffix_of(path)
    with open_regular(path) as (_, size):
        pass
    if suffix == ".ply":
        return _ply_info(path, size)
    if suffix == ".splat":
        stored = ("position", "scale", "color", "opacity", "rotation")
        return _described(path, ".splat", decode_splat(path), stored, size)
    if suffix == ".spz":
        rows = decode_spz(path)
        stored = ("position", "opacity", "color", "scale", "rotation")
        stored += ("sh",) if rows.sh.shape[1] > 1 else ()
        return _described(path, "SPZ", rows, stored, size)
    tensors = read_gaussian_tensors(path).tensors()
    rows = Rows(**{name: tensor.float().numpy() for name, tensor in tensors.items()})
    return _described(path, "safetensors", rows, tuple(tensors), size)


def _ply_info(path: str | os.PathLike[str], size: int) -> GaussianFileInfo:
    with open_regular(path) as (file, _):
        header = read_ply_header(path, file)
    rows = decode_ply(path, ColorRule.SH)
    if is_compressed(header):
        stored = tuple(name for element in header.elements for name in element.names)
        return _described(path, "compressed PLY", rows, stored, size)
    vertex = gaussian_element(path, header)
    described = _described(path, "PLY", rows, vertex.names, size)
    return replace(
        described,
        dialect=dialect_words(header, vertex, rows),
        ignored_properties=ignored_names(vertex),
    )


def _described(
    path: str | os.PathLike[str], title: str, rows: Rows, stored: tuple[str, ...], size: int
) -> GaussianFileInfo:
    bad = np.logical_or.reduce(bad_row_masks(rows))
    good = rows.select(~bad)
    some = len(good.means) > 0
    return GaussianFileInfo(
        path=Path(path),
        format=title,
        dialect=(),
        count=len(rows.means),
        bad_rows=int(bad.sum()),
        sh_degree=int(rows.sh.shape[1] ** 0.5) - 1,
        properties=stored,
        ignored_properties=(),
        bounds_min=_three_floats(good.means.min(axis=0)) if some else None,
        bounds_max=_three_floats(good.means.max(axis=0)) if some else None,
        opacity_quantiles=_quantiles(good.opacities) if some else None,
        scale_quantiles=_quantiles(good.scales) if some else None,
        size_bytes=size,
    )


def _three_floats(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, _QUANTILES))


def _suffix_of(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in GAUSSIAN_FORMATS:
        close = difflib.get_close_matches(suffix, GAUSSIAN_FORMATS, n=1)
        hint = f"did you mean {close[0]}?" if close else "rename or convert the file"
        raise FormatError(
            f"{path}: got the suffix {suffix!r}, expected one of "
            f"{', '.join(GAUSSIAN_FORMATS)}; {hint}"
        )
    return suffix
