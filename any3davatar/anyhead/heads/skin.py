"""Skin colour per body vertex, and the skin mesh."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads import palette
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.hair_color import brow_color, hair_color, natural_hair_color
from any3davatar.anyhead.heads.meshes import Array, Material, Mesh, unit, vertex_normals
from any3davatar.anyhead.heads.noise import ValueNoise, stream
from any3davatar.anyhead.heads.regions import (
    above_hairline,
    beard_mask,
    brow_mask,
    bump,
    mirrored,
    scalp_mask,
)
from any3davatar.anyhead.heads.spec import HeadSpec

SKIN = Material(roughness=0.47, specular=0.40, skin=True, fill=0.10)


def _mixed(color: NDArray, other: NDArray, share: NDArray) -> NDArray:
    return color + (other - color) * share[:, None]


def skin_albedo(spec: HeadSpec, anatomy: Anatomy) -> NDArray:
    """Return linear albedo (N, 3): tone, blood, freckles, lips, lids, roots of hair and beard."""
    chart, masks = anatomy.chart, anatomy.template.masks
    noise = ValueNoise(spec.seed, "skin")
    base = palette.skin_color(spec.skin.tone)
    fair = float(np.clip(palette.luminance(base) / 0.5, 0.15, 1.0))
    age = np.clip((spec.identity.age_years - 25) / 60, 0, 1)

    mottle = 0.09 * noise(chart, 3) + 0.08 * noise(chart, 11) + 0.07 * noise(chart, 37)
    color = base * (1 + mottle + (0.05 + 0.06 * age) * noise(chart, 85))[:, None]
    color = _blood(color, spec, anatomy, noise)

    shade = mirrored(chart, (0.31, 7.13, 1.4), (0.20, 0.08, 0.3)) * (0.25 + 0.6 * age)
    color = color * (1 - shade[:, None] * np.array([0.13, 0.19, 0.14]))
    lid = mirrored(chart, (0.31, 7.39, 1.4), (0.21, 0.07, 0.25))
    tint = np.array([0.12, 0.17, 0.15]) * (1 + 2.2 * spec.skin.eye_shadow)
    color = color * (1 - lid[:, None] * tint)
    if spec.skin.freckles > 0:
        spots = np.clip((noise(chart, 52) - 0.24) * 9, 0, 1)
        spots = spots * bump(chart, (0, 7.0, 1.5), (0.75, 0.42, 0.9)) * spec.skin.freckles
        color = color * (1 - spots[:, None] * np.array([0.34, 0.45, 0.52]))
    color = _moles(color, spec, anatomy)
    if age > 0.4:
        spots = np.clip((noise(chart + 5.3, 19) - 0.31) * 9, 0, 1) * (age - 0.4)
        color = color * (1 - spots[:, None] * np.array([0.25, 0.34, 0.38]))

    color = _lips(color, base, fair, spec, anatomy, noise)
    color = _hair_roots(color, base, spec, anatomy, noise)
    color = _mixed(color, palette.MOUTH, masks["in_mouth"])
    return np.clip(_mixed(color, np.array((0.38, 0.13, 0.11)), masks["eye_cavity"]), 0.002, 0.95)


def _blood(color: NDArray, spec: HeadSpec, anatomy: Anatomy, noise: ValueNoise) -> NDArray:
    chart = anatomy.chart
    red = 0.85 * mirrored(chart, (0.47, 6.95, 1.25), (0.27, 0.24, 0.5))
    red = red + 0.8 * bump(chart, (0, 6.93, 1.65), (0.22, 0.17, 0.25))
    red = red + 0.75 * (anatomy.template.masks["ears"] > 0.3)
    red = red + 0.35 * bump(chart, (0, 6.25, 1.45), (0.25, 0.12, 0.3))
    red = np.clip(red + 0.45 * noise(chart, 6), 0, 1.2) * (0.35 + spec.skin.ruddy)
    return color * (1 + red[:, None] * np.array([0.05, -0.17, -0.15]))


def _moles(color: NDArray, spec: HeadSpec, anatomy: Anatomy) -> NDArray:
    chart, rng = anatomy.chart, stream(spec.seed, "moles")
    on_face = np.flatnonzero((chart[:, 1] > 6.2) & (chart[:, 1] < 8) & (chart[:, 2] > 0.6))
    for spot in rng.choice(on_face, spec.skin.moles, replace=False):
        size = rng.uniform(0.008, 0.014)
        near = np.exp(-((chart - chart[spot]) ** 2).sum(1) / size**2)
        color = color * (1 - 0.55 * near[:, None])
    return color


def _lips(
    color: NDArray, base: NDArray, fair: float, spec: HeadSpec, anatomy: Anatomy, noise: ValueNoise
) -> NDArray:
    chart = anatomy.chart
    lips = np.clip(anatomy.template.masks["lips"] * 1.2, 0, 1)
    bare = base * np.array([0.90, 0.60, 0.60]) + np.array([0.035, 0.0, 0.006]) * fair
    painted = palette.to_linear(spec.skin.lipstick_color)
    wanted = bare + (painted - bare) * 0.9 * spec.skin.lipstick
    stretched = chart * np.array([3.0, 0.4, 1.0])  # creases run up and down
    creased = wanted * (1 + 0.35 * noise(stretched, 14) + 0.2 * noise(chart, 45))[:, None]
    return _mixed(color, creased, lips * (0.72 + 0.2 * spec.skin.lipstick))


def _hair_roots(
    color: NDArray, base: NDArray, spec: HeadSpec, anatomy: Anatomy, noise: ValueNoise
) -> NDArray:
    template, chart = anatomy.template, anatomy.chart
    hair, beard = hair_color(spec), natural_hair_color(spec)
    above = above_hairline(chart, spec.hair.hairline)
    scalp = scalp_mask(template, spec.hair.hairline) * np.clip(
        (above + 0.12 * noise(chart, 14)) / 0.22, 0, 1
    )
    shadow = 0.85 if spec.hair.style != "bald" else 0.16 * spec.identity.masculine
    color = _mixed(color, hair * 0.7, shadow * scalp)
    grain = 0.6 + 0.8 * np.clip(noise(chart, 110) + 0.4, 0, 1)
    stubble = beard_mask(template) * grain * max(spec.skin.stubble, 0.35 * _bearded(spec))
    color = _mixed(color, np.minimum(beard * 0.7, base * 0.45), 0.55 * np.clip(stubble, 0, 1))
    brows = brow_mask(template, spec.eyes.brow_thickness, spec.eyes.brow_arch)
    return _mixed(color, np.minimum(brow_color(spec), base * 0.6), 0.32 * brows)


def _bearded(spec: HeadSpec) -> float:
    return float(spec.beard.style in ("short", "full"))


def skin_mesh(spec: HeadSpec, anatomy: Anatomy) -> Mesh:
    """Build the posed skin with pore-sized relief in its normals."""
    chart, positions = anatomy.chart, anatomy.posed.positions
    noise = ValueNoise(spec.seed, "pores")
    age = np.clip((spec.identity.age_years - 20) / 50, 0, 1)
    relief = (0.0016 * noise(chart, 60) + 0.0012 * noise(chart, 125)) * (1 + age)
    bumped = positions + anatomy.posed.normals * relief[:, None]
    normals: Array = unit(vertex_normals(bumped, anatomy.template.triangles)).astype(np.float32)
    return Mesh(
        name="skin",
        positions=positions,
        triangles=anatomy.template.triangles,
        albedo=skin_albedo(spec, anatomy).astype(np.float32),
        material=SKIN,
        normals=normals,
    )
