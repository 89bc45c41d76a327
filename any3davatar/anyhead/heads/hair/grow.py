"""Grow free hair: a few guides are integrated, all hairs follow their neighbours.

Guides start off the skin, follow the comb, give way to gravity and are kept outside the body by
its distance field. Hairs interpolate guides of their own side of the parting, so no strand ever
crosses it.
"""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.anatomy import DM_PER_UNIT, Anatomy, Roots, scatter
from any3davatar.anyhead.heads.facial_hair import tapered
from any3davatar.anyhead.heads.fields import nearest_few, nearest_one
from any3davatar.anyhead.heads.hair.flow import (
    comb_direction,
    keep_face_free,
    part_rise,
    side_of_part,
    top_share,
)
from any3davatar.anyhead.heads.hair.shape import curled, cut_where, frizzed, gathered_into
from any3davatar.anyhead.heads.hair.styles import Style
from any3davatar.anyhead.heads.hair_color import hair_shades
from any3davatar.anyhead.heads.meshes import Strands, unit
from any3davatar.anyhead.heads.noise import ValueNoise, stream
from any3davatar.anyhead.heads.regions import above_hairline, scalp_mask
from any3davatar.anyhead.heads.spec import HeadSpec

_GUIDES = 1500
# Heights of the blade in the head frame, decimetres; the eyes are at 0.15.
_FOREHEAD_Y, _BROWS_Y, _EARS_Y, _CHIN_Y, _NO_BLADE_Y = 0.48, 0.38, -0.15, -1.13, -9.0
_REACH_DM = 0.975 * DM_PER_UNIT  # hair ends before the unit sphere


def scalp_density(spec: HeadSpec, anatomy: Anatomy) -> NDArray:
    """Return hair density per body vertex with an irregular, soft hairline."""
    chart = anatomy.chart
    noise = ValueNoise(spec.seed, "hairline")
    above = above_hairline(chart, spec.hair.hairline)
    ragged = above + 0.10 * noise(chart, 9) + 0.06 * noise(chart, 25)
    return scalp_mask(anatomy.template, spec.hair.hairline) * np.clip(ragged / 0.12, 0, 1)


def grow(spec: HeadSpec, style: Style, anatomy: Anatomy) -> Strands:
    """Grow a style without ties."""
    rng = stream(spec.seed, "hair")
    density = scalp_density(spec, anatomy)
    guide_roots = scatter(anatomy, density, _GUIDES, rng)
    roots = scatter(anatomy, density, style.strands, rng)
    guides = _integrated(guide_roots, spec, style, anatomy, rng)
    hairs = _interpolated(roots, guide_roots, guides, spec, style, anatomy, rng)
    clump, centers = _clumps(roots, style, spec, anatomy, rng)
    hairs = _styled(hairs, clump, centers, style, spec, rng)
    side = side_of_part(roots.at(anatomy.chart), spec.hair.part)
    hairs = anatomy.skin_distance.outside(hairs, 0.006 * np.linspace(0, 1, style.points) ** 0.3)
    if style.face_free:
        hairs = keep_face_free(hairs, side, anatomy)
    hairs = cut_where(hairs, np.linalg.norm(hairs, axis=-1) - _REACH_DM)
    shades = hair_shades(spec, roots.at(anatomy.chart), clump, rng)
    return Strands("hair", hairs.astype(np.float32), tapered(style.radius, style.points), shades)


def _lengths(
    roots: Roots, spec: HeadSpec, style: Style, anatomy: Anatomy, rng: np.random.Generator
) -> NDArray:
    chart = roots.at(anatomy.chart)
    top = top_share(chart)
    side_length = style.length if style.side_length is None else style.side_length
    length = style.length * top + side_length * (1 - top)
    if style.crest > 0:
        on_crest = np.clip((style.crest - np.abs(chart[:, 0])) / 0.04, 0, 1)
        length = side_length + (style.length - side_length) * on_crest
    length = length * (0.5 + spec.hair.length)
    length = length * (1 + style.ragged * rng.uniform(-1, 1, len(length)))
    short_near_edge = 0.10 if style.length > 1.4 else 0.30
    above = above_hairline(chart, spec.hair.hairline)
    # the nape and the sideburns fade; the forehead keeps its length
    forehead = np.clip((chart[:, 2] - 0.75) / 0.2, 0, 1) * np.clip((chart[:, 1] - 7.6) / 0.2, 0, 1)
    fade = np.clip((above + 0.03) / short_near_edge, 0.25, 1)
    return length * np.maximum(fade, 0.85 * forehead)


def _integrated(
    roots: Roots, spec: HeadSpec, style: Style, anatomy: Anatomy, rng: np.random.Generator
) -> NDArray:
    """Return guides (g, K, 3) of nominal length, before cutting."""
    chart = roots.at(anatomy.chart)
    position = roots.at(anatomy.neutral.positions).astype(float)
    normals = unit(roots.at(anatomy.neutral.normals))
    comb = comb_direction(chart, normals, style, spec.hair)
    noise = ValueNoise(spec.seed, "flow")
    drift = np.stack([noise(chart + shift, 2.3) for shift in (0.0, 3.1, 7.7)], -1)
    if style.comb != "none":
        comb = unit(comb + 0.5 * drift)
    lift = style.lift * (0.6 + 0.8 * spec.hair.volume)
    rise = part_rise(chart, spec.hair.part) if style.comb == "part" else np.ones(len(chart))
    heading = unit(normals * (lift * rise)[:, None] + comb + 0.15 * drift)
    side = side_of_part(chart, spec.hair.part)
    step = (_lengths(roots, spec, style, anatomy, rng) / (style.points - 1))[:, None]
    layer = style.layer * (0.5 + spec.hair.volume) * 0.7 * rise
    down = np.array([0.0, -1.0, 0.0])
    path, walked = [position], np.zeros_like(step)
    for _ in range(style.points - 1):
        walked = walked + step
        free = 1 - np.exp(-walked / style.comb_reach)
        pull = comb * (1 - free) * 0.9 + down * style.gravity * free
        turn = np.clip(step / 0.28, 0, 0.8)
        heading = unit(
            heading * (1 - turn * np.linalg.norm(pull, axis=1, keepdims=True).clip(0, 1))
            + pull * turn
        )
        moved = position + heading * step
        coat = layer * (0.45 + 0.55 * np.clip(walked[:, 0] / 0.35, 0, 1))
        moved = anatomy.skin_distance.outside(moved, coat + 0.005)
        if style.hug > 0:
            moved = _drawn_in(moved, style.hug * layer, anatomy)
        if style.face_free:
            moved = keep_face_free(moved, side, anatomy)
        heading = unit(0.5 * heading + 0.5 * unit(moved - position))
        position = moved
        path.append(position)
    guides = np.stack(path, 1)
    return _cut(guides, spec, style, rng)


def _drawn_in(points: NDArray, reach: NDArray, anatomy: Anatomy) -> NDArray:
    """Draw points above the ears in until they are at most ``reach`` off the skin."""
    distance, outward = anatomy.skin_distance(points)
    excess = np.maximum(distance - reach, 0) * np.clip((points[:, 1] + 0.15) / 0.5, 0, 1)
    return points - 0.8 * outward * excess[:, None]


def _cut(strands: NDArray, spec: HeadSpec, style: Style, rng: np.random.Generator) -> NDArray:
    if style.cut == "none":
        return strands
    uneven = 0.02 * rng.standard_normal(len(strands))
    front = np.clip((strands[..., 2] - 0.45) / 0.2, 0, 1)
    if style.cut == "brows":
        blade = np.where(front > 0.3, _BROWS_Y, _NO_BLADE_Y)
    elif style.cut == "bowl":
        blade = _EARS_Y + (_FOREHEAD_Y - _EARS_Y) * front
    elif style.cut == "bangs":
        narrow = np.abs(strands[..., 0]) < 0.56
        blade = np.where((front > 0.3) & narrow, _FOREHEAD_Y, _CHIN_Y)
    else:
        blade = np.full(strands.shape[:2], _CHIN_Y)
    lower = (spec.hair.length - 0.5) * 0.5
    return cut_where(strands, blade - lower - strands[..., 1], uneven)


def _interpolated(
    roots: Roots,
    guide_roots: Roots,
    guides: NDArray,
    spec: HeadSpec,
    style: Style,
    anatomy: Anatomy,
    rng: np.random.Generator,
) -> NDArray:
    """Return hairs (n, K, 3) that blend their three nearest guides."""
    chart, guide_chart = roots.at(anatomy.chart), guide_roots.at(anatomy.chart)

    def key(points: NDArray) -> NDArray:
        return np.concatenate([points, 0.5 * side_of_part(points, spec.hair.part)[:, None]], 1)

    distance, nearest = nearest_few(key(guide_chart), key(chart), 3)
    weight = 1 / (distance + 0.02) ** 2
    weight /= weight.sum(1, keepdims=True)
    offsets = guides - guides[:, :1]
    root = roots.at(anatomy.neutral.positions)
    blended = sum(offsets[nearest[:, k]] * weight[:, k, None, None] for k in range(3))
    hairs = root[:, None] + blended
    along = np.linspace(0, 1, style.points)
    depth_in_coat = style.layer * (0.5 + spec.hair.volume) * rng.uniform(-0.65, 0.5, len(hairs))
    _, outward = anatomy.skin_distance(hairs)
    ramp = np.clip(along * 3, 0, 1)[None, :, None]
    return hairs + outward * depth_in_coat[:, None, None] * ramp


def _clumps(
    roots: Roots, style: Style, spec: HeadSpec, anatomy: Anatomy, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Return each hair's clump and the hair that leads each clump, sides of the parting apart."""
    chart = roots.at(anatomy.chart)
    side = side_of_part(chart, spec.hair.part)
    centers = rng.choice(len(chart), max(style.clumps, 1), replace=False)
    keyed = np.concatenate([chart, side[:, None]], 1)
    return nearest_one(keyed[centers], keyed), centers


def _styled(
    hairs: NDArray,
    clump: NDArray,
    centers: NDArray,
    style: Style,
    spec: HeadSpec,
    rng: np.random.Generator,
) -> NDArray:
    count = len(hairs)
    leaders = hairs[centers][clump]
    if style.lock > 0:
        hairs = _locks(leaders, hairs, style.lock, rng)
    elif style.clump > 0:
        # a hair much longer or shorter than its leader keeps its own way
        own = np.linalg.norm(hairs[:, -1] - hairs[:, 0], axis=1)
        led = np.linalg.norm(leaders[:, -1] - leaders[:, 0], axis=1)
        alike = np.abs(own - led) < 0.35 * np.maximum(own, led)
        strength = style.clump * rng.uniform(0.6, 1.0, count) * alike * np.clip(own / 0.25, 0, 1)
        hairs = gathered_into(hairs, leaders, strength)
    if style.frizz > 0:
        hairs = frizzed(hairs, style.frizz, rng)
    if style.curl > 0:
        phase = rng.uniform(0, 2 * np.pi, len(centers))[clump] + 0.4 * rng.standard_normal(count)
        pace = rng.uniform(0.85, 1.15, len(centers))[clump] * style.turns
        hairs = curled(hairs, style.curl, pace, phase, rng.uniform(0.75, 1.2, count))
    return hairs


def _locks(leaders: NDArray, hairs: NDArray, radius: float, rng: np.random.Generator) -> NDArray:
    """Fill solid tubes around the leaders."""
    from any3davatar.anyhead.heads.hair.shape import frames

    count, points, _ = leaders.shape
    first, second = frames(leaders)
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 14, points)
    along = np.linspace(0, 1, points)
    lumps = 1 + 0.15 * np.sin(along * 40 + leaders[:, :1, 0] * 50)
    size = radius * np.sqrt(rng.uniform(0.3, 1, (count, 1))) * lumps * (1.05 - 0.35 * along**2)
    inside = leaders + first * (np.cos(angle) * size)[..., None]
    inside = inside + second * (np.sin(angle) * size)[..., None]
    enter = np.clip(along * 7, 0, 1)[None, :, None]
    return hairs * (1 - enter) + inside * enter
