"""Looks: the same head as a photograph would show it, in clay, in bronze, or drawn.

A look is a small strategy: it may exaggerate the shape, replace materials, quantise the light and
draw outlines. All of it happens on the geometry, so every view agrees.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.meshes import Array, Material, Mesh, Strands
from any3davatar.anyhead.heads.palette import luminance


def _same_mesh(mesh: Mesh) -> Mesh:
    return mesh


def _same_strands(strands: Strands) -> Strands:
    return strands


def _same_light(irradiance: Array) -> Array:
    return irradiance


@dataclass(frozen=True)
class Look:
    """What to change on the way from anatomy to colours.

    Attributes:
        exaggeration: extra base-mesh targets and weights.
        dress: replaces a mesh's colours and material.
        comb: replaces a strand group's colours and gloss.
        develop: changes irradiance before shading.
        outline: width in world units of a dark contour; 0 draws none.
    """

    exaggeration: tuple[tuple[str, float], ...] = ()
    dress: Callable[[Mesh], Mesh] = _same_mesh
    comb: Callable[[Strands], Strands] = _same_strands
    develop: Callable[[Array], Array] = _same_light
    outline: float = 0.0


def _cast(color: tuple[float, float, float], material: Material, relief: float) -> Look:
    """One material for everything; ``relief`` keeps some of the painted contrast."""

    def tone(albedo: NDArray) -> Array:
        grey = luminance(albedo)[:, None]
        contrast = np.clip(grey / max(float(np.median(grey)), 1e-3), 0.05, 1.6)
        return np.clip(np.array(color) * (1 - relief + relief * contrast), 0, 1).astype(np.float32)

    def dress(mesh: Mesh) -> Mesh:
        if mesh.material.opacity < 1:
            return mesh
        return replace(mesh, albedo=tone(mesh.albedo), material=material)

    def comb(strands: Strands) -> Strands:
        shade = 0.75 if strands.name in ("brows", "lashes") else 0.95
        varied = tone(strands.albedo) * shade
        return replace(strands, albedo=varied, gloss=0.3)

    return Look(dress=dress, comb=comb)


_EYES_WIDE = tuple(
    (f"eyes/{side}-eye-{what}", weight)
    for side in "lr"
    for what, weight in (("scale-incr", 1.7), ("height2-incr", 0.5))
)


def _saturated(albedo: NDArray, gain: float) -> Array:
    grey = luminance(albedo)[:, None]
    return np.clip(grey + (albedo - grey) * gain, 0.004, 0.95).astype(np.float32)


def _flat_paint(mesh: Mesh) -> Mesh:
    if mesh.name.endswith("_eye") or mesh.material.opacity < 1:
        return mesh
    flat = mesh.material.metal is False
    material = replace(mesh.material, roughness=0.9, specular=0.05) if flat else mesh.material
    return replace(mesh, albedo=_saturated(mesh.albedo, 1.35), material=material)


def _flat_strands(strands: Strands) -> Strands:
    mean = strands.albedo.mean(0, keepdims=True)
    calm = mean + 0.35 * (strands.albedo - mean)
    return replace(strands, albedo=_saturated(calm, 1.4), gloss=0.5 * strands.gloss)


def _two_tones(irradiance: Array) -> Array:
    """Quantise brightness to shade, light and highlight with narrow soft steps."""
    level = irradiance.mean(-1, keepdims=True)
    usual = float(np.median(level)) + 1e-6
    steps = np.interp(
        level / usual, (0.0, 0.42, 0.50, 1.05, 1.20, 9.0), (0.5, 0.5, 0.95, 0.95, 1.2, 1.2)
    )
    return (irradiance / np.maximum(level, 1e-6) * steps * max(usual, 0.75)).astype(np.float32)


LOOKS: dict[str, Look] = {
    "natural": Look(),
    "clay": _cast((0.46, 0.27, 0.18), Material(roughness=0.75, specular=0.25), relief=0.12),
    "bronze": _cast(
        (0.50, 0.27, 0.12), Material(roughness=0.38, specular=0.5, metal=True), relief=0.10
    ),
    "cartoon": Look(
        exaggeration=(
            *_EYES_WIDE, ("nose/nose-scale-vert-decr", 0.4), ("nose/nose-volume-decr", 0.5),
            ("head/head-age-decr", 0.6), ("chin/chin-width-decr", 0.4),
        ),
        dress=_flat_paint,
        comb=_flat_strands,
        develop=_two_tones,
        outline=0.006,
    ),
}  # fmt: skip


def outline_of(mesh: Mesh, width: float) -> Mesh:
    """Return an inside-out, slightly larger dark copy: seen only beyond the silhouette."""
    return replace(
        mesh,
        name=f"{mesh.name}_outline",
        positions=(mesh.positions + mesh.normals * width).astype(np.float32),
        triangles=np.ascontiguousarray(mesh.triangles[:, ::-1]),
        albedo=np.full_like(mesh.albedo, 0.004),
        material=Material(roughness=1.0, specular=0.0),
    )
