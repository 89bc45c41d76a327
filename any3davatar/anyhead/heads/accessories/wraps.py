"""Scarf and face mask: cloth that follows neck and face."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.accessories.tuck import Tuck
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.fields import nearest_one
from any3davatar.anyhead.heads.meshes import (
    Array,
    Indices,
    Material,
    Mesh,
    grid_triangles,
    joined,
    solidify,
    surface,
    tube,
    unit,
)
from any3davatar.anyhead.heads.palette import to_linear
from any3davatar.anyhead.heads.spec import Accessory

WOOL = Material(roughness=1.0, specular=0.05)
PAPER = Material(roughness=0.85, specular=0.12)


def scarf(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Build a scarf wound twice with one end hanging in front, striped in ``accent``."""
    neck = anatomy.near((0.0, 5.75, -0.5))
    throat = anatomy.near((0.0, 5.75, 0.9))
    center = (neck + throat) / 2
    turns = np.linspace(-np.pi, np.pi, 121)
    coils = []
    for height, clearance, tilt in ((0.10, 0.17, 0.10), (-0.13, 0.24, -0.06)):
        circle = np.stack([0.6 * np.sin(turns), 0 * turns, 0.6 * np.cos(turns)], -1)
        path = center + circle + np.array([0, height, 0])
        path[:, 1] += tilt * np.sin(turns) - 0.14 * np.cos(turns)
        for _ in range(2):
            path = anatomy.skin_distance.outside(path, clearance)
        path[-1] = path[0]
        coils.append(_folded(path, 0.155 + 0.03 * np.sin(3 * turns + height * 20), 0.19))
    stripes, color = to_linear(accessory.accent), to_linear(accessory.color)
    front = anatomy.near((0.25, 5.6, 1.2))
    drop = np.linspace(0, 1, 26)[:, None]
    fall = front + np.array([0, 0.12, 0.16]) + drop * np.array([0.06, -0.95, 0.02])
    fall = anatomy.skin_distance.outside(fall, 0.10)
    across = np.linspace(-1, 1, 13)
    hem = fall[:, None] + across[None, :, None] * np.array([0.24, 0, 0])
    hem[..., 2] += 0.035 * np.sin(across * 7)[None] + 0.02 * np.sin(drop * 9)
    end = solidify(hem.reshape(-1, 3), grid_triangles(*hem.shape[:2]), 0.05)
    points, triangles = joined([*coils, end])
    band = np.abs(((points[:, 0] * 1.3 + points[:, 1] * 0.4) * 3.2) % 1 - 0.5) < 0.13
    knit = 1 + 0.12 * np.sin(points[:, 1] * 120) * np.sin(points[:, 0] * 120)
    albedo = np.where(band[:, None], stripes, color) * knit[:, None]
    return [surface("scarf", points, triangles, albedo, WOOL)], None


def _folded(path: NDArray, width: NDArray, height: float) -> tuple[Array, Indices]:
    """Sweep a tube and press lengthwise folds into it."""
    sides = 28
    points, triangles = tube(path, np.stack([width, np.full_like(width, height)], -1), sides)
    ring = points[: len(path) * sides].reshape(len(path), sides, 3)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    along = np.linspace(0, 2 * np.pi, len(path))[:, None]
    press = 1 + 0.10 * np.sin(5 * angle + 2 * np.sin(along)) + 0.05 * np.sin(9 * angle - along)
    folded = path[:, None] + (ring - path[:, None]) * press[..., None]
    points = np.concatenate([folded.reshape(-1, 3), points[len(path) * sides :]])
    return points.astype(np.float32), triangles


def mask(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Build a pleated face mask with ear loops; it follows the posed face."""
    rows, columns = 26, 37
    across = np.linspace(-1, 1, columns)
    down = np.linspace(0, 1, rows)
    sheet = _tented(anatomy, across, down)
    normals = _sheet_normals(sheet)
    pleat = 0.016 * np.abs(((down * 4.0) % 1) - 0.5) * np.clip(np.sin(np.pi * down) * 4, 0, 1)
    sheet = sheet + normals * pleat[:, None, None]
    body = solidify(sheet.reshape(-1, 3), grid_triangles(rows, columns), 0.015)
    loops = []
    for column, side in ((-1, "left"), (0, "right")):
        ear = anatomy.ear(side).astype(float)
        sign = 1.0 if side == "left" else -1.0
        root = ear[ear[:, 2] < np.quantile(ear[:, 2], 0.25)]
        high = np.array(
            [np.abs(root[:, 0]).mean() * sign, ear[:, 1].max() - 0.10, root[:, 2].mean()]
        )
        low = np.array([high[0], ear[:, 1].min() + 0.10, high[2]])
        loops.append(_string(sheet[2, column], high, sign))
        loops.append(_string(sheet[-4, column], low, sign))
    color = to_linear(accessory.color)
    shade = 1 - 0.12 * np.abs(np.sin(np.pi * 4 * np.tile(np.repeat(down, columns), 2)))[:, None]
    return [
        surface("mask", *body, color * shade, PAPER),
        surface("mask_loops", *joined(loops), color * 0.9, PAPER),
    ], None


def _tented(anatomy: Anatomy, across: NDArray, down: NDArray) -> NDArray:
    """Stretch a sheet (rows, columns, 3) over nose, cheeks and chin of the posed face."""
    from scipy.ndimage import gaussian_filter

    chart, posed = anatomy.chart, anatomy.posed
    front = (
        (posed.normals[:, 2] > -0.25)
        & (chart[:, 2] > 0.35)
        & (anatomy.template.masks["in_mouth"] < 0.5)
    )
    half = np.interp(down, (0, 0.2, 0.6, 1), (0.42, 0.60, 0.60, 0.34))
    top = 7.04 - 0.20 * across**2
    bottom = 6.10 + 0.22 * across**2
    wanted = np.stack(
        [
            half[:, None] * across[None],
            top[None] * (1 - down[:, None]) + bottom[None] * down[:, None],
        ],
        -1,
    )
    nearest = nearest_one(chart[front][:, :2], wanted)
    sheet = posed.positions[front][nearest].astype(float)
    for sigma in (2.2, 1.5, 1.0, 0.6):
        sheet = gaussian_filter(sheet, (sigma, sigma, 0), mode="nearest")
        index = nearest_one(posed.positions[front], sheet)
        normal = posed.normals[front][index]
        height = ((sheet - posed.positions[front][index]) * normal).sum(-1)
        sheet = sheet + normal * np.maximum(0.05 - height, 0)[..., None]
    return sheet


def _sheet_normals(sheet: NDArray) -> NDArray:
    return unit(np.cross(np.gradient(sheet, axis=0), np.gradient(sheet, axis=1)))


def _string(start: NDArray, end: NDArray, sign: float) -> tuple[Array, Indices]:
    share = np.linspace(0, 1, 16)[:, None]
    path = start + (end - start) * share + np.array([sign * 0.07, 0, 0]) * np.sin(np.pi * share)
    return tube(path, 0.012, 8)
