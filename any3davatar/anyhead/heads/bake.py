"""Gather light once per head: shadow maps from all around, added up to irradiance.

Light is stored per vertex and strand point, so a view costs only a projection and a z-buffer.
World frame and units throughout.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.lighting import Lobes
from any3davatar.anyhead.heads.meshes import Array, Indices, Mesh, Strands, unit
from any3davatar.anyhead.heads.template import Template

MAP_PX = 384
_BLIND_BELOW = -0.8  # directions steeper than this from below light nothing but the bust's cap
_SKIN_WRAP = (0.32, 0.12, 0.06)
_SHADOW_WIDENING = 1.5  # every second hair casts shadow, made wider in turn
_HAIR_SOFTNESS = 0.032
_FIBRE_GAIN = 0.66


@dataclass(frozen=True)
class Surfaces:
    """All opaque and clear meshes of a head in one set of arrays.

    Attributes:
        points, normals, albedo: (N, 3).
        triangles: (T, 3) opaque faces.
        sheets: clear faces and their opacity, drawn last.
        roughness, specular, metal: (N,).
        wrap: (N, 3) how far light creeps around, by channel.
        fill: (N,) least irradiance.
        irradiance: (N, 3) divided by pi.
        lobe_seen: (N, L) share of each lamp that is not in shadow.
    """

    points: Array
    normals: Array
    albedo: Array
    triangles: Indices
    sheets: tuple[tuple[Indices, float], ...]
    roughness: Array
    specular: Array
    metal: Array
    wrap: Array
    fill: Array
    irradiance: Array
    lobe_seen: Array


@dataclass(frozen=True)
class Fibres:
    """One group of strands, flattened: N strands of K points are rows i * K + k."""

    name: str
    count: int
    steps: int
    points: Array
    tangents: Array
    radius: Array
    albedo: Array
    gloss: float
    irradiance: Array
    lobe_seen: Array


def flatten_surfaces(meshes: list[Mesh], lobe_count: int) -> Surfaces:
    """Concatenate meshes; irradiance is zero."""
    sizes = [len(mesh.positions) for mesh in meshes]
    starts = np.cumsum([0, *sizes[:-1]])

    def constant(values: list[float]) -> Array:
        return np.repeat(np.array(values, np.float32), sizes)

    materials = [mesh.material for mesh in meshes]
    total = sum(sizes)
    faces = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]
    wrap = np.array([_SKIN_WRAP if m.skin else (0.0, 0.0, 0.0) for m in materials], np.float32)
    return Surfaces(
        points=np.concatenate([mesh.positions for mesh in meshes]).astype(np.float32),
        normals=np.concatenate([mesh.normals for mesh in meshes]).astype(np.float32),
        albedo=np.concatenate([mesh.albedo for mesh in meshes]).astype(np.float32),
        triangles=np.concatenate(
            [face for face, m in zip(faces, materials, strict=True) if m.opacity >= 1]
        ).astype(np.int32),
        sheets=tuple(
            (face.astype(np.int32), m.opacity)
            for face, m in zip(faces, materials, strict=True)
            if m.opacity < 1
        ),
        roughness=constant([m.roughness for m in materials]),
        specular=constant([m.specular for m in materials]),
        metal=constant([float(m.metal) for m in materials]),
        wrap=np.repeat(wrap, sizes, 0),
        fill=constant([m.fill for m in materials]),
        irradiance=np.zeros((total, 3), np.float32),
        lobe_seen=np.zeros((total, lobe_count), np.float32),
    )


def flatten_strands(strands: Strands, lobe_count: int) -> Fibres:
    """Flatten a group of strands; irradiance is zero. Tips are a little lighter than roots."""
    count, steps, _ = strands.points.shape
    tangents = unit(np.gradient(strands.points, axis=1))
    fade = np.linspace(0.82, 1.14, steps)[None, :, None]
    return Fibres(
        name=strands.name,
        count=count,
        steps=steps,
        points=np.ascontiguousarray(strands.points.reshape(-1, 3), np.float32),
        tangents=np.ascontiguousarray(tangents.reshape(-1, 3), np.float32),
        radius=np.tile(strands.radius, count).astype(np.float32),
        albedo=np.ascontiguousarray((strands.albedo[:, None] * fade).reshape(-1, 3), np.float32),
        gloss=strands.gloss,
        irradiance=np.zeros((count * steps, 3), np.float32),
        lobe_seen=np.zeros((count * steps, lobe_count), np.float32),
    )


def light_directions(count: int) -> Array:
    """Return near-uniform unit directions (Fibonacci sphere), those from far below left out."""
    index = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    directions = np.stack(
        [np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], -1
    )
    return directions[directions[:, 1] > _BLIND_BELOW].astype(np.float32)


def gather_light(
    surfaces: Surfaces, fibres: list[Fibres], lamps: Lobes, direction_count: int
) -> None:
    """Fill irradiance and lobe_seen of freshly flattened geometry, in place."""
    from any3davatar.anyhead.heads.kernels import (
        FAR,
        draw_strands,
        draw_triangles,
        gather_strands,
        gather_surface,
        project_parallel,
    )

    directions = light_directions(direction_count)
    radiance = (lamps.radiance(directions) * 4 / direction_count).astype(np.float32)
    falloff = lamps.falloff(directions)
    shares = (falloff / falloff.sum(0)).astype(np.float32)
    scale = np.float32(MAP_PX / 2)
    no_image = np.empty((1, 1, 3), np.float32)
    surface_screen = np.empty_like(surfaces.points)
    fibre_screens = [np.empty_like(group.points) for group in fibres]
    casters = [
        np.arange(0, group.count, 2 if group.name == "hair" else 1, dtype=np.int32)
        if group.name != "lashes"
        else np.empty(0, np.int32)
        for group in fibres
    ]
    widths = [(group.radius * scale * _SHADOW_WIDENING).astype(np.float32) for group in fibres]
    for k, toward_light in enumerate(directions):
        rotation = _facing(toward_light)
        shift = np.array([scale, scale, 0], np.float32)
        solid = np.full((MAP_PX, MAP_PX), FAR, np.float32)
        project_parallel(surfaces.points, rotation, shift, scale, surface_screen)
        draw_triangles(
            surface_screen, surfaces.triangles, surfaces.albedo, solid, no_image, False, 1.0
        )
        furry = solid.copy()
        for group, screen, order, width in zip(fibres, fibre_screens, casters, widths, strict=True):
            project_parallel(group.points, rotation, shift, scale, screen)
            draw_strands(screen, width, group.albedo, order, group.steps, furry, no_image, False)
        gather_surface(
            surface_screen, surfaces.normals, toward_light, solid, furry, surfaces.wrap,
            radiance[k], shares[k], surfaces.irradiance, surfaces.lobe_seen,
        )  # fmt: skip
        for group, screen in zip(fibres, fibre_screens, strict=True):
            gather_strands(
                screen, group.tangents, toward_light, solid, furry, _HAIR_SOFTNESS,
                radiance[k] * np.float32(_FIBRE_GAIN), shares[k], group.irradiance,
                group.lobe_seen,
            )  # fmt: skip


def _facing(toward_light: Array) -> Array:
    """Return a rotation whose third row points away from the light (depth grows from it)."""
    up = np.array([0, 1, 0.01]) if abs(toward_light[1]) < 0.99 else np.array([0, 0, 1.0])
    right = unit(np.cross(-toward_light, -up))
    down = np.cross(-toward_light, right)
    return np.stack([right, down, -toward_light]).astype(np.float32)


def scatter_under_skin(irradiance: NDArray, template: Template) -> Array:
    """Blur light under the skin, red farthest (a diffusion profile by repeated averaging)."""
    spread = irradiance.copy()
    snapshots = {}
    for step in range(14):
        spread = 0.5 * spread + 0.5 * (template.neighbor_mean @ spread)
        snapshots[step] = spread
    red = 0.25 * irradiance[:, 0] + 0.75 * snapshots[13][:, 0]
    green = 0.5 * irradiance[:, 1] + 0.5 * snapshots[5][:, 1]
    blue = 0.6 * irradiance[:, 2] + 0.4 * snapshots[2][:, 2]
    return np.stack([red, green, blue], -1).astype(np.float32)
