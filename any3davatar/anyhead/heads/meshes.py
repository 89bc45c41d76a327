"""Triangle meshes and strands: the two kinds of geometry a head is built from.

Triangles are wound counter-clockwise seen from outside. Builders return closed surfaces, so that
faces turned away from the camera never need to be drawn.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.sparse import Sparse, identity, incidence, stacked, weighted

Array = NDArray[np.floating]  # float32 in meshes and strands, either inside computations
Indices = NDArray[np.integer]


@dataclass(frozen=True)
class Material:
    """How a surface answers light.

    Attributes:
        roughness: GGX roughness in (0, 1]; below 0.1 is wet or polished.
        specular: reflectance scale, 0.5 is a common dielectric.
        metal: True for metals, whose reflection takes the albedo.
        skin: True lets light scatter under the surface.
        opacity: below 1 the mesh is a clear sheet that only tints what lies behind it.
        fill: least irradiance: light passed on by close neighbours, as between teeth and lips.
    """

    roughness: float = 0.6
    specular: float = 0.3
    metal: bool = False
    skin: bool = False
    opacity: float = 1.0
    fill: float = 0.04


@dataclass(frozen=True)
class Mesh:
    """A named surface.

    Attributes:
        name: which part of the head it is (``"skin"``, ``"left_eye"``, ``"cap"`` ...).
        positions: (N, 3).
        triangles: (T, 3) vertex indices.
        albedo: (N, 3) linear RGB in [0, 1].
        material: one material for the whole surface.
        normals: (N, 3) unit shading normals.
    """

    name: str
    positions: Array
    triangles: Indices
    albedo: Array
    material: Material
    normals: Array


@dataclass(frozen=True)
class Strands:
    """N fibres of K points.

    Attributes:
        name: ``"hair"``, ``"beard"``, ``"brows"`` or ``"lashes"``.
        points: (N, K, 3).
        radius: (K,) from root to tip, same unit as the points.
        albedo: (N, 3) linear RGB.
        gloss: strength of the highlights; 0 is matte.
    """

    name: str
    points: Array
    radius: Array
    albedo: Array
    gloss: float = 1.0


def unit(vectors: NDArray) -> NDArray:
    """Scale vectors of the last axis to length one; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def vertex_normals(positions: NDArray, triangles: NDArray) -> Array:
    """Return area-weighted unit vertex normals."""
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    count = len(triangles)
    gather = incidence(triangles.T.ravel(), np.tile(np.arange(count), 3), (len(positions), count))
    return unit(gather @ face).astype(np.float32)


def surface(
    name: str,
    positions: NDArray,
    triangles: NDArray,
    albedo: NDArray | tuple[float, float, float],
    material: Material,
) -> Mesh:
    """Build a mesh; ``albedo`` is one colour or one per vertex."""
    colors = np.broadcast_to(np.asarray(albedo, np.float32), positions.shape)
    return Mesh(
        name=name,
        positions=np.ascontiguousarray(positions, np.float32),
        triangles=np.ascontiguousarray(triangles, np.int32),
        albedo=np.ascontiguousarray(np.clip(colors, 0.0, 1.0)),
        material=material,
        normals=vertex_normals(positions, triangles),
    )


def split_quads(quads: NDArray) -> Indices:
    """Cut quads into two triangles each."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def grid_triangles(rows: int, columns: int, *, wrap_columns: bool = False) -> Indices:
    """Triangulate a (rows, columns) grid of vertices, facing rows x columns (right-handed)."""
    ids = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(ids, -1, 1)
    if not wrap_columns:
        ids, right = ids[:, :-1], right[:, :-1]
    quads = np.stack([ids[:-1], ids[1:], right[1:], right[:-1]], -1).reshape(-1, 4)
    return split_quads(quads)


def sphere(rows: int = 48, columns: int = 64) -> tuple[Array, Indices, Array, Array]:
    """Return a unit sphere with poles on z: points, triangles, angle from +z, angle around z."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rows),
        np.linspace(0, 2 * np.pi, columns, endpoint=False),
        indexing="ij",
    )
    points = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1
    )
    triangles = grid_triangles(rows, columns, wrap_columns=True)
    return (
        points.reshape(-1, 3).astype(np.float32),
        triangles,
        polar.ravel().astype(np.float32),
        around.ravel().astype(np.float32),
    )


def tube(path: NDArray, radius: NDArray | float, sides: int = 12) -> tuple[Array, Indices]:
    """Sweep a circle along a path (K, 3) with parallel transport; the ends are capped.

    Args:
        path: (K, 3) points; a path whose ends coincide becomes a ring.
        radius: one radius, or (K,) or (K, 2) for elliptic sections (width, height).
        sides: vertices around the section.
    """
    path = np.asarray(path, float)
    count = len(path)
    closed = np.linalg.norm(path[0] - path[-1]) < 1e-6
    tangents = np.gradient(path, axis=0)
    if closed:
        tangents[0] = tangents[-1] = path[1] - path[-2]
    tangents = unit(tangents)
    start = np.array([0.0, 1.0, 0.0]) if abs(tangents[0, 1]) < 0.9 else np.array([1.0, 0, 0])
    normals = np.empty_like(path)
    normals[0] = unit(start - tangents[0] * (start @ tangents[0]))
    for k in range(1, count):
        carried = normals[k - 1] - tangents[k] * (normals[k - 1] @ tangents[k])
        normals[k] = unit(carried)
    if closed:
        normals = _untwisted(tangents, normals)
    sides_dir = np.cross(tangents, normals)
    radii = np.broadcast_to(
        np.asarray(radius, float).reshape(-1, 1)
        if np.ndim(radius) < 2
        else np.asarray(radius, float),
        (count, 1 if np.ndim(radius) < 2 else 2),
    )
    width, height = radii[:, 0], radii[:, -1]
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = (
        normals[:, None] * (np.cos(angle) * height[:, None])[..., None]
        + sides_dir[:, None] * (np.sin(angle) * width[:, None])[..., None]
    )
    points = (path[:, None] + ring).reshape(-1, 3)
    triangles = grid_triangles(count, sides, wrap_columns=True)[:, ::-1]
    if not closed:
        points = np.concatenate([points, path[[0, -1]]])
        first = np.arange(sides)
        last = first + (count - 1) * sides
        heads = np.stack([np.roll(first, -1), first, np.full(sides, count * sides)], -1)
        tails = np.stack([last, np.roll(last, -1), np.full(sides, count * sides + 1)], -1)
        triangles = np.concatenate([triangles, heads, tails])
    return points.astype(np.float32), triangles.astype(np.int32)


def _untwisted(tangents: NDArray, normals: NDArray) -> NDArray:
    """Spread the angle by which a transported frame misses its start evenly over a ring."""
    side = np.cross(tangents[0], normals[0])
    missed = np.arctan2(normals[-1] @ side, normals[-1] @ normals[0])
    back = -missed * np.linspace(0, 1, len(normals))[:, None]
    return normals * np.cos(back) + np.cross(tangents, normals) * np.sin(back)


def boundary_edges(triangles: NDArray) -> Indices:
    """Return directed edges (E, 2) that belong to one triangle only."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, count = np.unique(
        np.sort(edges, 1), axis=0, return_inverse=True, return_counts=True
    )
    return edges[count[inverse.ravel()] == 1].astype(np.int32)


def solidify(
    positions: NDArray, triangles: NDArray, thickness: float, outward: NDArray | None = None
) -> tuple[Array, Indices]:
    """Give an open sheet a back side and a rim; the sheet itself stays the outside.

    Args:
        positions: (N, 3) of the sheet.
        triangles: (T, 3), facing outside.
        thickness: distance of the back side.
        outward: one direction (3,) in which the sheet is thick; None takes its normals.
    """
    count = len(positions)
    if outward is None:
        outward = vertex_normals(positions, triangles)
    inner = positions - outward * thickness
    rim = boundary_edges(triangles)
    walls = np.concatenate(
        [
            np.stack([rim[:, 1], rim[:, 0], rim[:, 0] + count], -1),
            np.stack([rim[:, 1], rim[:, 0] + count, rim[:, 1] + count], -1),
        ]
    )
    return (
        np.concatenate([positions, inner]).astype(np.float32),
        np.concatenate([triangles, triangles[:, ::-1] + count, walls]).astype(np.int32),
    )


def joined(parts: list[tuple[NDArray, NDArray]]) -> tuple[Array, Indices]:
    """Concatenate (points, triangles) pairs into one."""
    starts = np.cumsum([0, *(len(points) for points, _ in parts)])
    return (
        np.concatenate([points for points, _ in parts]).astype(np.float32),
        np.concatenate([t + s for (_, t), s in zip(parts, starts, strict=False)]).astype(np.int32),
    )


class Clipped(NamedTuple):
    """Part of a mesh on the positive side of a scalar field.

    Attributes:
        matrix: (N', N) sparse, new vertices as mixtures of the old ones.
        triangles: (T', 3).
    """

    matrix: Sparse
    triangles: Indices


def clip(triangles: NDArray, field: NDArray) -> Clipped:
    """Cut triangles along ``field = 0`` and keep the side where it is positive.

    Args:
        triangles: (T, 3).
        field: (N,) one value per vertex, linear inside each triangle.
    """
    count = len(field)
    inside = field > 0
    kept_corners = inside[triangles].sum(1)
    whole = triangles[kept_corners == 3]
    pieces = [whole]
    crossings: list[NDArray] = []

    def cut(first: NDArray, second: NDArray) -> NDArray:
        crossings.append(np.stack([first, second], -1))
        return count + np.arange(len(first)) + sum(len(c) for c in crossings[:-1])

    for corners in (1, 2):
        chosen = triangles[kept_corners == corners]
        alone = inside[chosen] if corners == 1 else ~inside[chosen]
        pivot = alone.argmax(1)
        rows = np.arange(len(chosen))
        a, b, c = (chosen[rows, (pivot + k) % 3] for k in range(3))
        ab, ac = cut(a, b), cut(a, c)
        if corners == 1:
            pieces.append(np.stack([a, ab, ac], -1))
        else:
            pieces += [np.stack([ab, b, c], -1), np.stack([ab, c, ac], -1)]
    edges = np.concatenate(crossings) if crossings else np.empty((0, 2), int)
    ordered = np.sort(edges, 1)  # both triangles of an edge must get the same vertex
    unique, inverse = np.unique(ordered, axis=0, return_inverse=True)
    merged = np.concatenate(pieces)
    late = merged >= count
    merged[late] = count + inverse.ravel()[merged[late] - count]
    weight = field[unique[:, 0]] / (field[unique[:, 0]] - field[unique[:, 1]])
    rows = np.arange(len(unique))
    on_edges = weighted(
        np.concatenate([1 - weight, weight]),
        np.concatenate([rows, rows]),
        np.concatenate([unique[:, 0], unique[:, 1]]),
        (len(unique), count),
    )
    full = stacked([identity(count), on_edges])
    used, compact = np.unique(merged, return_inverse=True)
    return Clipped(full[used], compact.reshape(-1, 3).astype(np.int32))
