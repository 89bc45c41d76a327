"""How hair makes room: strand points are drawn in toward the skull under and near a band."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.meshes import Array, unit

Tuck = Callable[[Array], Array]
Line = Callable[[NDArray], NDArray]

_SLOPE = 1.1  # how fast hair may stand off again away from the band


def under(line: Line, anatomy: Anatomy, room: float) -> Tuck:
    """Return a tuck for closed headwear.

    Args:
        line: elevation (radians, from the skull's centre) of the lower edge at an azimuth.
        anatomy: whose head.
        room: space for hair between skull and fabric, decimetres.
    """
    return _limited(lambda azimuth, elevation: line(azimuth) - elevation, anatomy, room)


def around(line: Line, anatomy: Anatomy, room: float, half_width: float) -> Tuck:
    """Return a tuck for a band along ``line`` that is open on both sides."""
    return _limited(
        lambda azimuth, elevation: np.abs(elevation - line(azimuth)) - half_width, anatomy, room
    )


def _limited(
    angle_outside: Callable[[NDArray, NDArray], NDArray], anatomy: Anatomy, room: float
) -> Tuck:
    def tuck(points: Array) -> Array:
        offsets = points - anatomy.skull_center
        radius = np.linalg.norm(offsets, axis=-1)
        directions = unit(offsets)
        azimuth = np.arctan2(directions[..., 0], directions[..., 2])
        elevation = np.arcsin(np.clip(directions[..., 1], -1, 1))
        free = np.maximum(angle_outside(azimuth, elevation), 0) * _SLOPE
        limit = anatomy.skull(directions) + room + free
        scale = np.minimum(1.0, limit / np.maximum(radius, 1e-6))
        return (anatomy.skull_center + offsets * scale[..., None]).astype(np.float32)

    return tuck
