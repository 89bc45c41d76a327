"""Clothes: a sheet cut out of the body along a neckline, and a collar along the cut."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads import palette
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.meshes import (
    Array,
    Material,
    Mesh,
    boundary_edges,
    clip,
    grid_triangles,
    joined,
    solidify,
    surface,
    tube,
    unit,
)
from any3davatar.anyhead.heads.noise import ValueNoise
from any3davatar.anyhead.heads.spec import HeadSpec

FABRIC = Material(roughness=0.92, specular=0.10)
_LOOP_POINTS = 144
_EASE_DM = {"crew": 0.035, "vneck": 0.035, "turtleneck": 0.05, "shirt": 0.04, "hoodie": 0.075}


def _below_neckline(style: str, chart: NDArray) -> NDArray:
    """Positive where the body is covered, in decimetres below the neckline."""
    x, y, z = np.abs(chart[..., 0]), chart[..., 1], chart[..., 2]
    line = 5.66 + 0.25 * np.clip(x - 0.45, 0, 0.5) - 0.20 * np.clip(z - 0.2, 0, 1)
    if style == "vneck":
        line = line - np.clip(0.62 - 1.45 * x, 0, None) * np.clip((z - 0.1) * 3, 0, 1)
    if style == "turtleneck":
        line = 6.06 - 0.16 * np.clip(z - 0.2, 0, 0.6)
    if style == "shirt":
        line = line + 0.06
    return line - y


def bare_skin(skin: Mesh, spec: HeadSpec, anatomy: Anatomy) -> Mesh:
    """Drop skin triangles that lie well under the clothes; all vertices stay."""
    hidden = _below_neckline(spec.clothes.style, anatomy.chart)[skin.triangles].min(1) > 0.08
    return Mesh(
        skin.name,
        skin.positions,
        np.ascontiguousarray(skin.triangles[~hidden]),
        skin.albedo,
        skin.material,
        skin.normals,
    )


def build_clothes(spec: HeadSpec, anatomy: Anatomy) -> list[Mesh]:
    """Build the garment and its collar."""
    style = spec.clothes.style
    below = _below_neckline(style, anatomy.chart)
    piece = clip(anatomy.template.triangles, below)
    chart = piece.matrix @ anatomy.chart
    skin = piece.matrix @ anatomy.neutral.positions
    normals = unit(piece.matrix @ anatomy.neutral.normals)
    depth = piece.matrix @ below
    noise = ValueNoise(spec.seed, "clothes")
    folds = 0.035 * noise(chart * np.array([1.0, 0.6, 1.0]), 2.1) * np.clip(depth * 2, 0, 1)
    positions = skin + normals * (_EASE_DM[style] + folds)[:, None]
    color = palette.to_linear(spec.clothes.color)
    weave = 1 + 0.10 * noise(chart, 70) + 0.16 * noise(chart, 9)
    body = surface("garment", positions, piece.triangles, color * weave[:, None], FABRIC)
    loop = _neckline_loop(positions, piece.triangles, depth)
    return [body, *COLLARS[style](spec, loop)]


def _neckline_loop(positions: Array, triangles: NDArray, depth: NDArray) -> NDArray:
    """Return the cut's edge as a smooth closed curve (P, 3), evenly spaced, starting in front."""
    from scipy.ndimage import gaussian_filter1d

    edges = boundary_edges(triangles)
    edges = edges[np.abs(depth[edges]).max(1) < 1e-3]
    following = dict(edges.tolist())
    start = int(edges[positions[edges[:, 0], 2].argmax(), 0])
    order, here = [start], following[start]
    while here != start and len(order) <= len(edges):
        order.append(here)
        here = following[here]
    curve = positions[order]
    closed = np.concatenate([curve, curve[:1]])
    along = np.cumsum([0.0, *np.linalg.norm(np.diff(closed, axis=0), axis=1)])
    places = np.linspace(0, along[-1], _LOOP_POINTS, endpoint=False)
    even = np.stack([np.interp(places, along, closed[:, k]) for k in range(3)], -1)
    return gaussian_filter1d(even, 1.5, axis=0, mode="wrap")


def _closed(loop: NDArray) -> NDArray:
    return np.concatenate([loop, loop[:1]])


def _outward(loop: NDArray) -> NDArray:
    flat = (loop - loop.mean(0)) * np.array([1, 0, 1])
    return unit(flat)


def _frontness(loop: NDArray) -> NDArray:
    """1 at the throat, 0 at the nape."""
    span = loop[:, 2] - loop[:, 2].min()
    return span / max(float(span.max()), 1e-6)


def _trim(spec: HeadSpec, name: str, parts: list[tuple[NDArray, NDArray]], color: NDArray) -> Mesh:
    points, triangles = joined(parts)
    return surface(name, points, triangles, color, FABRIC)


def _rib(spec: HeadSpec, loop: NDArray) -> list[Mesh]:
    ring = tube(_closed(loop), np.full((len(loop) + 1, 2), (0.026, 0.045)), 10)
    color = palette.to_linear(spec.clothes.color)
    return [_trim(spec, "collar", [ring], color * 0.82)]


def _roll(spec: HeadSpec, loop: NDArray) -> list[Mesh]:
    out = _outward(loop)
    upper = tube(_closed(loop + 0.02 * out), 0.062, 12)
    lower = tube(_closed(loop * np.array([1.0, 1, 1]) + 0.065 * out - [0, 0.14, 0]), 0.058, 12)
    between = tube(
        _closed(loop + 0.05 * out - [0, 0.07, 0]), np.full((len(loop) + 1, 2), (0.11, 0.062)), 12
    )
    return [_trim(spec, "collar", [upper, lower, between], palette.to_linear(spec.clothes.color))]


def _shirt_collar(spec: HeadSpec, loop: NDArray) -> list[Mesh]:
    out, front = _outward(loop), _frontness(loop)
    start, stop = 3, len(loop) - 3  # open at the throat
    loop, out, front = loop[start:stop], out[start:stop], front[start:stop, None]
    up = np.array([0.0, 1.0, 0.0])
    tip = np.clip((front - 0.72) / 0.28, 0, 1)
    forward = np.array([0.0, 0.0, 1.0])
    rows = np.stack(
        [
            loop - 0.03 * up,
            loop + (0.13 - 0.05 * front) * up + 0.005 * out,
            loop + (0.16 - 0.05 * front) * up + 0.05 * out,
            loop + 0.05 * up + (0.10 + 0.03 * tip) * out,
            loop - (0.05 + 0.20 * tip) * up + (0.13 + 0.05 * tip) * out + 0.06 * tip * forward,
        ],
        0,
    )
    points, triangles = solidify(
        rows.reshape(-1, 3), grid_triangles(*rows.shape[:2])[:, ::-1], 0.018
    )
    return [_trim(spec, "collar", [(points, triangles)], palette.to_linear(spec.clothes.accent))]


def _hood(spec: HeadSpec, loop: NDArray) -> list[Mesh]:
    out, front = _outward(loop), _frontness(loop)[:, None]
    back = 1 - front
    path = loop + (0.03 + 0.16 * back) * out + np.array([0, 1, 0]) * (0.06 * back - 0.02 * front)
    size = np.concatenate([0.06 + 0.13 * back, 0.055 + 0.10 * back], 1)
    hood = tube(_closed(path), _closed(size), 16)
    drop = np.linspace(0, 1, 12)[:, None]
    strings = []
    for index in (6, -6):
        start = loop[index] + 0.07 * out[index]
        string = start + drop * np.array([0, -0.62, 0.10]) + 0.05 * np.sin(3 * drop) * out[index]
        strings.append(tube(string, 0.016, 8))
    color = palette.to_linear(spec.clothes.color)
    return [
        _trim(spec, "collar", [hood], color * 0.92),
        _trim(spec, "strings", strings, palette.to_linear(spec.clothes.accent)),
    ]


COLLARS = {
    "crew": _rib,
    "vneck": _rib,
    "turtleneck": _roll,
    "shirt": _shirt_collar,
    "hoodie": _hood,
}
