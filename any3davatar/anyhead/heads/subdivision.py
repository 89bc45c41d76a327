"""Catmull-Clark subdivision of a quad mesh as one sparse matrix.

The topology never changes between identities, so the rules are turned once into a matrix S with
``refined = S @ coarse``, and a new head costs one sparse product (E. Catmull and J. Clark,
"Recursively generated B-spline surfaces on arbitrary topological meshes", 1978).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.sparse import (
    Sparse,
    diagonal,
    identity,
    incidence,
    row_mean,
    row_sum,
    stacked,
)


class Refinement(NamedTuple):
    """One subdivision step.

    Attributes:
        matrix: (N', N) rows sum to one.
        quads: (Q', 4) vertex indices, orientation kept.
        uvs: (Q', 4, 2) texture coordinates per corner, linearly refined.
    """

    matrix: Sparse
    quads: NDArray[np.int64]
    uvs: NDArray[np.float32]


def catmull_clark(
    vertex_count: int, quads: NDArray[np.int64], uvs: NDArray[np.float32]
) -> Refinement:
    """Return the matrix, faces and corner coordinates of one Catmull-Clark step.

    Boundary edges follow the cubic B-spline rule, so an open mesh keeps its outline.
    """
    quad_count = len(quads)
    quad_index = np.arange(quad_count)
    corner_edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    edges, edge_of_corner, quads_per_edge = np.unique(
        corner_edges, axis=0, return_inverse=True, return_counts=True
    )
    edge_of_corner = edge_of_corner.reshape(quad_count, 4)
    edge_count = len(edges)
    is_inner = (quads_per_edge == 2).astype(float)

    four_times = np.repeat(quad_index, 4).reshape(quad_count, 4)
    quad_to_vertex = incidence(four_times, quads, (quad_count, vertex_count))
    edge_ids = np.repeat(np.arange(edge_count), 2).reshape(edge_count, 2)
    edge_to_vertex = incidence(edge_ids, edges, (edge_count, vertex_count))
    edge_to_quad = incidence(edge_of_corner, four_times, (edge_count, quad_count))

    face_points = 0.25 * quad_to_vertex
    midpoints = 0.5 * edge_to_vertex
    smooth_edges = 0.5 * midpoints + 0.25 * (edge_to_quad @ face_points)
    edge_points = diagonal(is_inner) @ smooth_edges + diagonal(1 - is_inner) @ midpoints

    valence = np.maximum(row_sum(quad_to_vertex.T), 1.0)
    smooth_vertices = diagonal(1 / valence) @ (
        row_mean(quad_to_vertex.T) @ face_points + 2 * (row_mean(edge_to_vertex.T) @ midpoints)
    ) + diagonal((valence - 3) / valence) @ identity(vertex_count)
    rim_edges = diagonal(1 - is_inner) @ edge_to_vertex
    rim_vertices = 0.5 * identity(vertex_count) + 0.5 * (row_mean(rim_edges.T) @ midpoints)
    on_rim = (row_sum(rim_edges.T) > 0).astype(float)
    vertex_points = diagonal(1 - on_rim) @ smooth_vertices + diagonal(on_rim) @ rim_vertices

    edge_vertex = vertex_count + edge_of_corner
    face_vertex = vertex_count + edge_count + quad_index
    uv_center = uvs.mean(1)
    uv_middle = (uvs + np.roll(uvs, -1, 1)) / 2
    corners = [(k, (k - 1) % 4) for k in range(4)]
    new_quads = [
        np.stack([quads[:, k], edge_vertex[:, k], face_vertex, edge_vertex[:, before]], 1)
        for k, before in corners
    ]
    new_uvs = [
        np.stack([uvs[:, k], uv_middle[:, k], uv_center, uv_middle[:, before]], 1)
        for k, before in corners
    ]
    return Refinement(
        matrix=stacked([vertex_points, edge_points, face_points]),
        quads=np.stack(new_quads, 1).reshape(-1, 4),
        uvs=np.stack(new_uvs, 1).reshape(-1, 4, 2).astype(np.float32),
    )


def refine(
    vertex_count: int, quads: NDArray[np.int64], uvs: NDArray[np.float32], levels: int
) -> Refinement:
    """Chain ``levels`` Catmull-Clark steps into one matrix."""
    matrix = identity(vertex_count)
    for _ in range(levels):
        step = catmull_clark(matrix.shape[0], quads, uvs)
        matrix, quads, uvs = step.matrix @ matrix, step.quads, step.uvs
    return Refinement(matrix, quads, uvs)
