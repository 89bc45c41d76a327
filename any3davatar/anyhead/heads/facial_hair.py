"""Brows, lashes and beards: short strands rooted on the posed face."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.anatomy import Anatomy, scatter
from any3davatar.anyhead.heads.hair_color import greyed
from any3davatar.anyhead.heads.meshes import Array, Strands, unit
from any3davatar.anyhead.heads.noise import stream
from any3davatar.anyhead.heads.regions import (
    beard_mask,
    brow_line,
    brow_mask,
    goatee_mask,
    moustache_mask,
)
from any3davatar.anyhead.heads.skin import brow_color, natural_hair_color
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.heads.template import Template


class BeardKind(NamedTuple):
    """Where a beard grows, number of hairs, and length in decimetres."""

    region: Callable[[Template], NDArray]
    hairs: int
    length: float


BEARDS = {
    "moustache": BeardKind(moustache_mask, 2600, 0.13),
    "goatee": BeardKind(goatee_mask, 4500, 0.15),
    "short": BeardKind(beard_mask, 12000, 0.075),
    "full": BeardKind(beard_mask, 14000, 0.26),
}


def tapered(radius: float, points: int) -> Array:
    """Return a radius per point: thin at the root's first step, full, thin at the tip."""
    along = np.linspace(0, 1, points)
    profile = (1 - 0.8 * along**2) * np.clip(0.45 + 5 * along, 0, 1)
    return (radius * profile).astype(np.float32)


def brows(spec: HeadSpec, anatomy: Anatomy) -> Strands:
    """Grow both brows: upright near the nose, sweeping outward and down."""
    rng = stream(spec.seed, "brows")
    count = int(1100 + 1500 * spec.eyes.brow_thickness)
    mask = brow_mask(anatomy.template, spec.eyes.brow_thickness, spec.eyes.brow_arch)
    roots = scatter(anatomy, mask, count, rng)
    position, normal = roots.at(anatomy.posed.positions), unit(roots.at(anatomy.posed.normals))
    chart = roots.at(anatomy.chart)
    side = np.abs(chart[:, 0])
    off_center = brow_line(side, spec.eyes.brow_arch) - chart[:, 1]
    rise = np.interp(side, (0.1, 0.2, 0.4, 0.6), (1.0, 0.42, 0.0, -0.4))
    rise = rise + np.clip(off_center * 12, -0.5, 0.5)
    comb = np.stack([np.sign(chart[:, 0]) * (0.25 + 1.6 * side), rise, np.full(count, -0.2)], -1)
    comb = unit(comb) + 0.13 * rng.standard_normal((count, 3))
    comb = unit(comb - normal * (comb * normal).sum(1, keepdims=True) * 0.9 + 0.2 * normal)
    along = np.linspace(0, 1, 5)[None, :, None]
    length = rng.uniform(0.035, 0.070, count)[:, None, None]
    lift = normal[:, None] * (0.004 - 0.02 * length * along**2)
    points = position[:, None] + comb[:, None] * length * along + lift
    shade = brow_color(spec) * rng.uniform(0.65, 1.3, (count, 1))
    return Strands("brows", points.astype(np.float32), tapered(0.0016, 5), shade, gloss=0.4)


def lashes(spec: HeadSpec, anatomy: Anatomy) -> Strands:
    """Grow lashes along the base mesh's helper strips, which follow the lids."""
    rng = stream(spec.seed, "lashes")
    strips = []
    for name, quads in anatomy.template.lashes.items():
        ball = anatomy.eyeball("left" if name.startswith("l-") else "right")
        strip = anatomy.posed_base[quads]
        if name.endswith("-2"):  # strip 1 doubles it closer to the lid
            strips.append(_lashes_of_strip(strip, ball.center, spec, rng))
    points = np.concatenate(strips)
    shade = np.tile((0.035, 0.026, 0.022), (len(points), 1))
    return Strands("lashes", points, tapered(0.0014, points.shape[1]), shade, gloss=0.0)


def _lashes_of_strip(strip: Array, eye: NDArray, spec: HeadSpec, rng: np.random.Generator) -> Array:
    per_quad, points = 3, 7
    order = np.linalg.norm(strip - eye, axis=-1).argsort(1)
    rows = np.arange(len(strip))
    near = strip[rows[:, None], order[:, :2]]
    far = strip[rows[:, None], order[:, 2:]]
    straight = np.linalg.norm(far[:, 0] - near[:, 0], axis=1)
    crossed = np.linalg.norm(far[:, 1] - near[:, 0], axis=1)
    far = np.where((straight > crossed)[:, None, None], far[:, ::-1], far)
    place = rng.random((len(strip), per_quad, 1))
    root = near[:, :1] * (1 - place) + near[:, 1:] * place
    tip = far[:, :1] * (1 - place) + far[:, 1:] * place
    tip = tip + 0.006 * rng.standard_normal(tip.shape)
    upper = root[..., 1:2] > eye[1]
    length = rng.uniform(0.35, 0.65, place.shape) * np.where(
        upper, 0.45 + 0.7 * spec.eyes.lashes, 0.22
    )
    along = np.linspace(0, 1, points)[:, None]
    curl = np.where(upper, 1.0, -0.5)[..., None] * np.array([0, 1, 0]) * 0.022 * along**2
    away = unit(root - eye)[:, :, None] * (0.016 + 0.035 * along)  # off the lid
    strands = root[:, :, None] + (tip - root)[:, :, None] * along * length[..., None] + curl
    strands = strands + away
    return strands.reshape(-1, points, 3).astype(np.float32)


def beard(spec: HeadSpec, anatomy: Anatomy) -> list[Strands]:
    """Grow the beard of the spec's style; an empty list when there is none."""
    if spec.beard.style == "none":
        return []
    rng = stream(spec.seed, "beard")
    kind = BEARDS[spec.beard.style]
    count = round(kind.hairs * anatomy.detail.hairs)
    roots = scatter(anatomy, kind.region(anatomy.template), count, rng)
    chart = roots.at(anatomy.chart)
    posed = roots.at(anatomy.posed.positions)
    normal = unit(roots.at(anatomy.posed.normals))
    points = 8
    lengths = rng.uniform(0.55, 1.1, count) * kind.length * (0.4 + 1.2 * spec.beard.length)
    lengths = lengths * np.interp(chart[:, 1], (6.3, 6.9), (1.15, 0.5))  # longer at the chin
    sideways = np.sign(chart[:, 0]) * np.clip(chart[:, 1] - 6.68, 0, 0.15) * 4
    comb = np.stack([sideways, np.full(count, -0.6), np.full(count, 0.1)], -1)
    heading = unit(0.8 * normal + comb + 0.22 * rng.standard_normal((count, 3)))
    path = [posed]
    for _ in range(points - 1):
        wander = 0.2 * rng.standard_normal((count, 3))
        heading = unit(heading + np.array([0, -0.32, 0]) + wander)
        path.append(path[-1] + heading * (lengths / (points - 1))[:, None])
    shade = natural_hair_color(spec) * rng.uniform(0.6, 1.3, (count, 1))
    chin_first = np.interp(chart[:, 1], (6.2, 6.9), (1.2, 0.8))
    shade = greyed(shade, spec.hair.grey * chin_first, rng)
    radius = tapered(0.0040 / anatomy.detail.hairs, points)
    return [Strands("beard", np.stack(path, 1).astype(np.float32), radius, shade, 0.5)]
