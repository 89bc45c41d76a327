"""Headphones: two cups on the ears and a band over the hair."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.accessories.tuck import Tuck
from any3davatar.anyhead.heads.anatomy import Anatomy, on_skull
from any3davatar.anyhead.heads.meshes import (
    Array,
    Indices,
    Material,
    Mesh,
    joined,
    sphere,
    surface,
    tube,
    unit,
)
from any3davatar.anyhead.heads.palette import to_linear
from any3davatar.anyhead.heads.spec import Accessory

SHELL = Material(roughness=0.35, specular=0.5)
CUSHION = Material(roughness=0.92, specular=0.08)
_ABOVE_CUPS = 0.25  # where the arc begins, over the cups' centres


def headphones(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Build closed headphones; ``accent`` colours the ear cushions."""
    color, accent = to_linear(accessory.color), to_linear(accessory.accent)
    centers = {side: _cup_center(side, anatomy) for side in ("left", "right")}
    ball, faces, _, _ = sphere(28, 40)
    rounded = np.sign(ball) * np.abs(ball) ** 0.8 * (0.115, 0.36, 0.30)
    shells = [(rounded + center, faces) for center in centers.values()]
    cushions = [_cushion(center) for center in centers.values()]
    return [
        surface("headphone_cups", *joined(shells), color, SHELL),
        surface("headphone_cushions", *joined(cushions), accent * 0.6, CUSHION),
        surface("headphone_band", *_band(centers, anatomy), color, SHELL),
    ], _under_band(centers["left"], anatomy)


def _cup_center(side: str, anatomy: Anatomy) -> NDArray:
    ear = anatomy.ear(side).astype(float)
    outermost = ear[np.abs(ear[:, 0]).argmax(), 0]
    return np.array([outermost + 0.07 * np.sign(outermost), ear[:, 1].mean(), ear[:, 2].mean()])


def _cushion(cup: NDArray) -> tuple[Array, Indices]:
    angle = np.linspace(0, 2 * np.pi, 49)
    loop = np.stack([0 * angle, 0.30 * np.cos(angle), 0.245 * np.sin(angle)], -1)
    loop[-1] = loop[0]
    inward = np.array([-0.13 * np.sign(cup[0]), 0, 0])
    return tube(cup + inward + loop, np.full((49, 2), (0.10, 0.085)), 14)


def _band(centers: dict[str, NDArray], anatomy: Anatomy) -> tuple[Array, Indices]:
    """Sweep the band: straight arms at the cups, then an arc over the head."""
    base = (centers["left"] + centers["right"]) / 2
    half_width = (centers["left"][0] - centers["right"][0]) / 2 + 0.02
    top = on_skull(np.array([[0.0, 1.0, 0.0]]), anatomy, 0.13)[0, 1]
    angle = np.linspace(0, np.pi, 61)
    rise = _ABOVE_CUPS + (top - base[1] - _ABOVE_CUPS) * np.sin(angle) ** 0.85
    arc = base + np.stack([half_width * np.cos(angle), rise, 0 * angle], -1)
    arm = np.array([0, _ABOVE_CUPS, 0])
    path = np.concatenate([[arc[0] - arm], arc, [arc[-1] - arm]])
    place = np.abs(np.linspace(-1, 1, len(path)))
    thickness = np.interp(place, (0, 0.75, 1), (0.05, 0.045, 0.03))
    return tube(path, np.stack([thickness * 2.4, thickness], -1), 14)


def _under_band(cup: NDArray, anatomy: Anatomy) -> Tuck:
    """Press hair down under the band, which lies above the ears, and inside the cups.

    Args:
        cup: centre of the left cup; the right one is taken as its mirror image.
        anatomy: whose head.
    """

    def tuck(points: Array) -> Array:
        offsets = points - anatomy.skull_center
        radius = np.linalg.norm(offsets, axis=-1)
        ways = unit(offsets)
        beside = np.maximum(np.abs(points[..., 2] - cup[2]) - 0.10, 0)
        below = np.maximum(0.05 - ways[..., 1], 0)
        limit = anatomy.skull(ways) + 0.09 + 1.2 * beside + 3.0 * below
        scale = np.minimum(1.0, limit / np.maximum(radius, 1e-6))
        pressed = anatomy.skull_center + offsets * scale[..., None]
        from_cup = np.hypot((pressed[..., 1] - cup[1]) / 0.40, (pressed[..., 2] - cup[2]) / 0.34)
        widest = cup[0] - 0.13 + 1.5 * np.maximum(from_cup - 1, 0)
        pressed[..., 0] = np.clip(pressed[..., 0], -widest, widest)
        return pressed.astype(np.float32)

    return tuck
