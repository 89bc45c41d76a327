"""Earrings, on one ear or both."""

import numpy as np

from any3davatar.anyhead.heads.accessories.tuck import Tuck
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.meshes import Material, Mesh, joined, sphere, surface, tube
from any3davatar.anyhead.heads.palette import to_linear
from any3davatar.anyhead.heads.spec import Accessory

GOLD = Material(roughness=0.2, specular=0.5, metal=True)
STONE = Material(roughness=0.06, specular=0.9)


def earrings(accessory: Accessory, anatomy: Anatomy) -> tuple[list[Mesh], Tuck | None]:
    """Build hoops (``shape`` above 0.5, larger with it) or drops with a stone."""
    sides = ("left", "right") if accessory.side == "both" else (accessory.side,)
    return [mesh for side in sides for mesh in _earring(side, accessory, anatomy)], None


def _earring(side: str, accessory: Accessory, anatomy: Anatomy) -> list[Mesh]:
    ear = anatomy.ear(side).astype(float)
    sign = 1.0 if side == "left" else -1.0
    lobe = ear[ear[:, 1] < np.quantile(ear[:, 1], 0.06)]
    hole = lobe.mean(0) + np.array([sign * 0.035, 0.03, 0.0])
    metal = to_linear(accessory.accent)
    if accessory.shape > 0.5:
        radius = 0.07 + 0.16 * (accessory.shape - 0.5)
        angle = np.linspace(0, 2 * np.pi, 49)
        ring = np.stack([0 * angle, radius * np.cos(angle) - radius, radius * np.sin(angle)], -1)
        ring[-1] = ring[0]
        return [surface(f"earring_{side}", *tube(hole + ring, 0.015, 10), metal, GOLD)]
    ball, faces, _, _ = sphere(20, 24)
    stud = (ball * 0.024 + hole, faces)
    hook = tube(hole + np.linspace(0, 1, 6)[:, None] * np.array([0, -0.15, 0]), 0.008, 8)
    drop = ball * np.array([0.040, 0.065, 0.040]) + hole - np.array([0, 0.20, 0])
    return [
        surface(f"earring_{side}", *joined([stud, hook]), metal, GOLD),
        surface(f"earring_{side}_stone", drop, faces, to_linear(accessory.color), STONE),
    ]
