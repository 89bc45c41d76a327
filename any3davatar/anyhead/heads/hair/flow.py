"""Where the comb goes: the parting, the whorl, and the part of the face that stays free."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.hair.styles import Style
from any3davatar.anyhead.heads.meshes import unit
from any3davatar.anyhead.heads.spec import Hair

_WHORL = np.array([0.06, -0.12])  # chart x, z of the crown's whorl
_PART_REACH_X = 0.40


def top_share(chart: NDArray) -> NDArray:
    """1 on top of the head, 0 on its sides and back."""
    return np.clip((chart[:, 1] - 7.72) / 0.42, 0, 1)


def part_x(chart: NDArray, part: float) -> NDArray:
    """Return where the parting runs at each root's depth; it ends at the whorl."""
    forward = np.clip((chart[:, 2] - _WHORL[1]) / 1.2, 0, 1)
    return _WHORL[0] * (1 - forward) + part * _PART_REACH_X * np.clip(forward * 2.5, 0, 1)


def side_of_part(chart: NDArray, part: float) -> NDArray:
    """Return +1 left of the parting, -1 right of it and 0 behind the whorl."""
    side = np.where(chart[:, 0] > part_x(chart, part), 1.0, -1.0)
    return np.where(chart[:, 2] > _WHORL[1] + 0.08, side, 0.0)


def part_rise(chart: NDArray, part: float) -> NDArray:
    """Return how much of its full height hair has, (n,): low along the parting."""
    beside = np.abs(chart[:, 0] - part_x(chart, part))
    ahead = np.clip((chart[:, 2] - _WHORL[1]) / 0.3, 0, 1)
    return 1 - 0.65 * ahead * np.exp(-((beside / 0.30) ** 2))


def comb_direction(chart: NDArray, normals: NDArray, style: Style, hair: Hair) -> NDArray:
    """Return the unit tangent direction (n, 3) in which each root is combed; 0 for upright hair."""
    if style.comb == "none":
        return np.zeros_like(normals)
    top = top_share(chart)[:, None]
    x, z = chart[:, 0], chart[:, 2]
    if style.comb == "part":
        nearest_z = np.maximum(z, _WHORL[1])
        away = np.stack([x - part_x(chart, hair.part), 0 * x, np.minimum(z - nearest_z, 0)], -1)
        on_top = unit(away) - style.sweep_back * np.array([0, 0, 1.0])
    elif style.comb == "whorl":
        away = np.stack([x - _WHORL[0], 0 * x, z - _WHORL[1]], -1)
        on_top = unit(away) + 0.35 * hair.part * np.array([-1.0, 0, 0])
    else:
        on_top = np.stack([0.18 * x, 0 * x, np.full_like(x, -1.0)], -1)
    back = np.where(style.comb == "back", 1.1, 0.35)
    beside = np.stack([0 * x, np.full_like(x, -1.0), -back * (np.abs(x) > 0.45)], -1)
    wanted = on_top * top + beside * (1 - top)
    wanted = wanted - normals * (wanted * normals).sum(1, keepdims=True)
    return unit(wanted)


def keep_face_free(points: NDArray, side: NDArray, anatomy: Anatomy) -> NDArray:
    """Push points in front of the face sideways until they frame it.

    Args:
        points: (n, ..., 3) head frame.
        side: (n,) +1 or -1 where the hair belongs, 0 where its own x decides.
        anatomy: whose face.
    """
    cheeks = anatomy.neutral.positions[
        (anatomy.template.masks["face"] > 0.3) & (np.abs(anatomy.chart[:, 1] - 7.05) < 0.15)
    ]
    half_width = float(np.abs(cheeks[:, 0]).max()) * 0.90
    below = np.clip((0.80 - points[..., 1]) / 0.30, 0, 1)
    front = np.clip((points[..., 2] - anatomy.skull_center[2] - 0.10) / 0.35, 0, 1)
    least = half_width * below * front
    x = points[..., 0]
    chosen = side.reshape(-1, *(1,) * (x.ndim - 1)) * np.ones_like(x)
    sign = np.where((chosen == 0) | (np.abs(x) > 0.5), np.sign(x), chosen)
    spread = sign * (least + 0.12 * np.abs(x))
    moved = points.copy()
    moved[..., 0] = np.where(np.abs(x) < least, spread, x)
    return moved
