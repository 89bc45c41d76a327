"""Teeth and tongue, carried by the posed base mesh."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads import palette
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.meshes import Material, Mesh, surface, unit, vertex_normals

ENAMEL = Material(roughness=0.18, specular=0.5, fill=0.70)
_TOOTH_PITCH_RAD = 0.17  # of the dental arch around its centre
_ARCH_CENTER_Z = 0.9


def mouth_meshes(anatomy: Anatomy) -> list[Mesh]:
    """Build upper teeth, lower teeth and tongue."""
    return [_teeth("upper-teeth", anatomy), _teeth("lower-teeth", anatomy), _tongue(anatomy)]


def _teeth(name: str, anatomy: Anatomy) -> Mesh:
    part = anatomy.template.parts[name]
    positions = part.matrix @ anatomy.posed_base[part.vertices]
    chart = part.matrix @ anatomy.template.base[part.vertices]
    place = np.arctan2(chart[:, 0], chart[:, 2] - _ARCH_CENTER_Z) / _TOOTH_PITCH_RAD
    gap = np.exp(-(((place % 1 - 0.5) / 0.07) ** 2))
    height = (chart[:, 1] - chart[:, 1].min()) / np.ptp(chart[:, 1])
    from_edge = 1 - height if name == "lower-teeth" else height  # 0 at the biting edge
    gum = np.clip((from_edge - 0.58) / 0.08, 0, 1)[:, None]
    normals = vertex_normals(positions, part.triangles)
    albedo = palette.TEETH * (1 - 0.5 * gap[:, None])
    albedo = (albedo + (palette.GUMS - albedo) * gum) * _dimmed(chart, normals)[:, None]
    carved = positions - normals * (0.012 * gap[:, None])
    carved[:, 1] += 0.015 if name == "lower-teeth" else -0.03  # the base mesh hides them
    return surface(name, carved, part.triangles, albedo, ENAMEL)


def _dimmed(chart: NDArray, normals: NDArray) -> NDArray:
    """Return the light (N,) that the mouth leaves: little for molars and inner sides."""
    behind_incisors = chart[:, 2].max() - chart[:, 2]
    depth = np.interp(behind_incisors, (0.10, 0.32), (1.0, 0.22))
    outward = chart[:, [0, 2]] - np.array([0.0, _ARCH_CENTER_Z])
    facing = (unit(outward) * normals[:, [0, 2]]).sum(1)
    return depth * np.interp(facing, (-0.2, 0.2), (0.3, 1.0))


def _tongue(anatomy: Anatomy) -> Mesh:
    part = anatomy.template.parts["tongue"]
    positions = part.matrix @ anatomy.posed_base[part.vertices]
    return surface(
        "tongue",
        positions,
        part.triangles,
        palette.TONGUE,
        Material(roughness=0.35, specular=0.5, fill=0.30),
    )
