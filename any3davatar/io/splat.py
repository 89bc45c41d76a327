""".splat files: 32 bytes a Gaussian, the format of the antimatter15/splat viewer.

A row is three float32 of position, three float32 of scale (not logs), four bytes r, g, b, opacity,
and four bytes of the quaternion (w, x, y, z) as ``128 + 128 q``; no header. Viewers draw a partly
loaded file from the front, so rows are sorted, the largest and most opaque first.
"""

import os

import numpy as np

from any3davatar.core import Gaussians
from any3davatar.core.sh import C0
from any3davatar.io.atomic import atomic_path
from any3davatar.io.errors import FormatError
from any3davatar.io.opening import open_regular
from any3davatar.io.rows import BadRows, Rows, gaussians_from_rows, rows_of

_ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def read_splat(path: str | os.PathLike[str], *, on_bad_rows: BadRows = BadRows.REFUSE) -> Gaussians:
    """Read a .splat file: one set, float32, SH degree 0. An empty file is zero Gaussians.

    Raises:
        FormatError: the size is no multiple of 32 bytes, or rows are no Gaussians.
        OSError: the file can't be opened.
    """
    return gaussians_from_rows(path, decode_splat(path), on_bad_rows)


def write_splat(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write a .splat file; the order changes: descending volume times opacity.

    Positions and scales are exact. Colours and opacities are rounded to 1/255 (colours outside
    [0, 1] are clipped), quaternion components to 1/128.

    Raises:
        FormatError: the set has view-dependent colour, which the format can't hold.
        InvalidInput: a batch of sets, or values that no Gaussians have.
        OSError: the file can't be written.
    """
    rows = rows_of(gaussians)
    if rows.sh[:, 1:].any():
        raise FormatError(
            f"{path}: .splat holds one colour a Gaussian, got SH degree {gaussians.sh_degree}; "
            "pass gaussians.with_sh_degree(0) to drop the view dependence, or write .ply or .spz"
        )
    volume = rows.scales.astype(np.float64).prod(axis=1)
    rows = rows.select(np.argsort(-volume * rows.opacities, kind="stable"))
    table = np.empty(len(rows.means), _ROW)
    table["means"], table["scales"] = rows.means, rows.scales
    rgba = np.concatenate([rows.sh[:, 0] * C0 + 0.5, rows.opacities[:, None]], axis=1)
    table["rgba"] = np.rint(rgba * 255).clip(0, 255)
    table["quats"] = np.rint(rows.quats * 128 + 128).clip(0, 255)
    with atomic_path(path) as temporary:
        table.tofile(temporary)


def decode_splat(path: str | os.PathLike[str]) -> Rows:
    """Read a .splat file's rows without judging them one by one."""
    with open_regular(path) as (file, size):
        raw = file.read(size)
    if len(raw) % _ROW.itemsize:
        raise FormatError(
            f"{path}: got {len(raw)} bytes, expected a multiple of {_ROW.itemsize}; the file is "
            "truncated or not a .splat"
        )
    table = np.frombuffer(raw, _ROW)
    rgba = table["rgba"].astype(np.float32) / 255
    return Rows(
        means=table["means"].astype(np.float32),
        quats=(table["quats"].astype(np.float32) - 128) / 128,
        scales=table["scales"].astype(np.float32),
        opacities=rgba[:, 3],
        sh=((rgba[:, None, :3] - 0.5) / C0).astype(np.float32),
    )
