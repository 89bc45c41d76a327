"""Tied hair: over the skull to a tie, then a bun, a ponytail or a braid."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.anatomy import DM_PER_UNIT, Anatomy, on_skull, scatter
from any3davatar.anyhead.heads.facial_hair import tapered
from any3davatar.anyhead.heads.fields import direction
from any3davatar.anyhead.heads.hair.grow import scalp_density
from any3davatar.anyhead.heads.hair.shape import cut_where, frames
from any3davatar.anyhead.heads.hair.styles import Gathered
from any3davatar.anyhead.heads.hair_color import hair_shades
from any3davatar.anyhead.heads.meshes import Strands, unit
from any3davatar.anyhead.heads.noise import stream
from any3davatar.anyhead.heads.spec import HeadSpec

_OVER_SKULL = 0.45  # share of the points that lie between root and tie


def gather(spec: HeadSpec, style: Gathered, anatomy: Anatomy) -> Strands:
    """Grow a tied style."""
    rng = stream(spec.seed, "hair")
    roots = scatter(anatomy, scalp_density(spec, anatomy), style.strands, rng)
    chart = roots.at(anatomy.chart)
    root = roots.at(anatomy.neutral.positions).astype(float)
    two = abs(style.azimuth_deg) < 175
    side = np.where(chart[:, 0] + 0.01 * rng.standard_normal(len(chart)) > 0, 1.0, -1.0)
    azimuth = np.radians(style.azimuth_deg) * (side if two else np.ones_like(side))
    toward_tie = direction(azimuth, np.full_like(azimuth, np.radians(style.elevation_deg)))
    over = _over_skull(root, toward_tie, style, spec, anatomy, rng)
    tie = on_skull(toward_tie, anatomy, 0.03)
    steps = style.points - over.shape[1]
    tail = {"bun": _bun, "ponytail": _ponytail, "braid": _braid}[style.tail]
    behind = tail(tie, toward_tie, steps, spec, anatomy, rng)
    hairs = np.concatenate([over, behind], 1)
    hairs[:, 1:] += 0.008 * rng.standard_normal((len(hairs), 1, 3))
    hairs = cut_where(hairs, np.linalg.norm(hairs, axis=-1) - 0.975 * DM_PER_UNIT)
    clump = ((np.arctan2(chart[:, 0], chart[:, 2]) + np.pi) * 20).astype(int)
    shades = hair_shades(spec, chart, clump, rng)
    return Strands("hair", hairs.astype(np.float32), tapered(style.radius, style.points), shades)


def _over_skull(
    root: NDArray,
    toward_tie: NDArray,
    style: Gathered,
    spec: HeadSpec,
    anatomy: Anatomy,
    rng: np.random.Generator,
) -> NDArray:
    """Return great-circle paths from the roots to the tie, (n, k, 3)."""
    points = int(style.points * _OVER_SKULL)
    start = unit(root - anatomy.skull_center)
    angle = np.arccos(np.clip((start * toward_tie).sum(-1), -0.995, 0.9999))[:, None]
    share = np.linspace(0, 1, points)[None]
    weights = np.sin((1 - share) * angle), np.sin(share * angle)
    way = weights[0][..., None] * start[:, None] + weights[1][..., None] * toward_tie[:, None]
    way = unit(way)
    coat = style.layer * (0.5 + spec.hair.volume)
    height = coat * np.sin(np.pi * share) + 0.012 + 0.03 * share * rng.random((len(root), 1))
    path = anatomy.skull_center + way * (anatomy.skull(way) + height)[..., None]
    path = anatomy.skin_distance.outside(path, 0.01 * np.ones_like(share))
    path[:, 0] = root
    return path


def _bun(
    tie: NDArray,
    toward_tie: NDArray,
    steps: int,
    spec: HeadSpec,
    anatomy: Anatomy,
    rng: np.random.Generator,
) -> NDArray:
    count = len(tie)
    size = 0.30 * (0.7 + 0.6 * spec.hair.volume)
    center = (tie + toward_tie * size * 0.85)[:, None]
    axis = toward_tie[:, None]
    across = unit(np.cross(axis, np.array([1.0, 0.1, 0])))
    beside = np.cross(axis, across)
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 4.6, steps)
    tilt = rng.uniform(-1, 1, (count, 1)) + 0.15 * np.sin(3 * angle)
    shell = size * np.sqrt(rng.uniform(0.6, 1, (count, 1)))
    ring = shell * np.sqrt(np.clip(1 - (0.9 * tilt) ** 2, 0.05, 1))
    return (
        center
        + across * (ring * np.cos(angle))[..., None]
        + beside * (ring * np.sin(angle))[..., None]
        + axis * (0.78 * shell * tilt)[..., None]
    )


def _ponytail(
    tie: NDArray,
    toward_tie: NDArray,
    steps: int,
    spec: HeadSpec,
    anatomy: Anatomy,
    rng: np.random.Generator,
) -> NDArray:
    count = len(tie)
    along = np.linspace(0, 1, steps + 1)[1:][None, :, None]
    length = rng.uniform(1.35, 2.0, count)[:, None, None] * (0.5 + spec.hair.length)
    body = rng.standard_normal((count, 3))[:, None] * 0.055
    rise = toward_tie[:, None] * (0.30 * np.sin(np.pi * np.minimum(along * 1.15, 1)) + 0.14 * along)
    fall = np.array([0, -1.0, 0]) * length * along**1.2
    sway = 0.04 * np.sin(7 * along) * np.array([1.0, 0, 0.4])
    spread = body * (0.45 + 2.0 * np.sin(np.pi * along**0.8) * (1 - 0.4 * along))
    path = tie[:, None] + rise + fall + sway + spread
    return anatomy.skin_distance.outside(path, 0.07 + 0.0 * along[..., 0])


def _braid(
    tie: NDArray,
    toward_tie: NDArray,
    steps: int,
    spec: HeadSpec,
    anatomy: Anatomy,
    rng: np.random.Generator,
) -> NDArray:
    """Three strands weave around a line that falls over the front of the shoulder."""
    count = len(tie)
    along = np.linspace(0, 1, steps)[None]
    length = 1.75 * (0.5 + spec.hair.length)
    side = np.sign(tie[:, :1])
    ones = np.ones_like(side)
    fall = [
        side * 0.28 * np.sin(np.pi * along / 2),
        -ones * length * along,
        ones * 0.75 * along**0.8,
    ]
    line = tie[:, None] + np.stack(fall, -1)
    line = anatomy.skin_distance.outside(line, 0.13 * np.clip(along * 6, 0.3, 1))
    first, second = frames(line)
    strand = rng.integers(0, 3, count)[:, None] * (2 * np.pi / 3)
    weave = 2 * np.pi * 6.0 * along + strand
    taper = 1.1 - 0.45 * along
    wide, thick = 0.062 * np.sin(weave) * taper, 0.036 * np.sin(2 * weave) * taper
    angle = rng.uniform(0, 2 * np.pi, (count, 1))
    fill = 0.048 * np.sqrt(rng.uniform(0.2, 1, (count, 1))) * taper
    offset_first = wide + fill * np.cos(angle)
    offset_second = thick + fill * np.sin(angle)
    path = line + first * offset_first[..., None] + second * offset_second[..., None]
    tuft = np.clip((along - 0.9) / 0.1, 0, 1)[..., None]
    return path + tuft * 0.03 * rng.standard_normal((count, 1, 3))
