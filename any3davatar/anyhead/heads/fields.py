"""Fields over directions and space, and nearest-neighbour look-ups.

A *direction map* is a radius over azimuth (0 at +z, toward +x) and elevation; a *distance field* is
the signed distance to a surface, negative inside.
"""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.meshes import Array, unit


def direction(azimuth: NDArray, elevation: NDArray) -> NDArray:
    """Return unit vectors (*b, 3); azimuth 0 is +z and grows toward +x, elevation toward +y."""
    return np.stack(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ],
        -1,
    )


def nearest_few(points: NDArray, queries: NDArray, count: int) -> tuple[NDArray, NDArray]:
    """Return distances and indices (*b, count) of the points nearest to queries (*b, D)."""
    from scipy.spatial import KDTree

    distance, index = KDTree(points).query(queries, count)
    return np.asarray(distance), np.asarray(index)


def nearest_one(points: NDArray, queries: NDArray, slack: float = 0.0) -> NDArray:
    """Return the index (*b,) of a point at most ``1 + slack`` times as far as the nearest."""
    from scipy.spatial import KDTree

    return np.asarray(KDTree(points).query(queries, eps=slack)[1])


class DirectionMap:
    """A smooth function of direction: radius over azimuth (0 at +z, toward +x) and elevation."""

    _AZIMUTHS, _ELEVATIONS = 96, 49

    def __init__(self, radii: NDArray) -> None:
        self._radii = np.concatenate([radii, radii[:1]])

    @classmethod
    def around(cls, offsets: NDArray) -> "DirectionMap":
        """Fit the map to points given relative to the centre, outermost of the nearest eight."""
        from scipy.ndimage import gaussian_filter1d

        radius = np.linalg.norm(offsets, axis=1)
        azimuth = np.linspace(-np.pi, np.pi, cls._AZIMUTHS, endpoint=False)
        elevation = np.linspace(-np.pi / 2, np.pi / 2, cls._ELEVATIONS)
        directions = direction(*np.meshgrid(azimuth, elevation, indexing="ij"))
        _, nearest = nearest_few(offsets / radius[:, None], directions.reshape(-1, 3), 8)
        radii = radius[nearest].max(1).reshape(cls._AZIMUTHS, cls._ELEVATIONS)
        around = gaussian_filter1d(radii, 1.3, axis=0, mode="wrap")
        return cls(gaussian_filter1d(around, 1.3, axis=1, mode="nearest"))

    def __call__(self, directions: NDArray) -> NDArray:
        """Return the radius toward unit vectors (*b, 3)."""
        from scipy.ndimage import map_coordinates

        azimuth = np.arctan2(directions[..., 0], directions[..., 2])
        elevation = np.arcsin(np.clip(directions[..., 1], -1, 1))
        places = [
            (azimuth + np.pi) / (2 * np.pi) * self._AZIMUTHS,
            (elevation / np.pi + 0.5) * (self._ELEVATIONS - 1),
        ]
        return map_coordinates(self._radii, places, order=1, mode="nearest")


class DistanceField:
    """Signed distance to a surface on a regular grid; negative inside."""

    _LOW_DM = np.array([-2.3, -2.5, -2.3])
    _HIGH_DM = np.array([2.3, 1.75, 2.0])

    def __init__(self, grid: Array, step: float) -> None:
        self._grid, self._step = grid, step

    @classmethod
    def around(cls, positions: Array, normals: Array, step: float) -> "DistanceField":
        """Sample the distance to a point cloud with normals on a grid of this step."""
        from scipy.ndimage import gaussian_filter

        axes = [
            np.arange(low, high, step) for low, high in zip(cls._LOW_DM, cls._HIGH_DM, strict=True)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
        thin = slice(None, None, 3)
        surface_points, surface_normals = positions[thin], normals[thin]
        nearest = nearest_one(surface_points, points.reshape(-1, 3), slack=0.25)
        offsets = points.reshape(-1, 3) - surface_points[nearest]
        side = np.sign((offsets * surface_normals[nearest]).sum(1))
        distance = (np.linalg.norm(offsets, axis=1) * side).reshape(points.shape[:3])
        return cls(gaussian_filter(distance, 0.6).astype(np.float32), step)

    def __call__(self, points: NDArray) -> tuple[Array, Array]:
        """Return distances (*b,) and unit gradients (*b, 3) at points (*b, 3)."""
        from any3davatar.anyhead.heads.kernels import sample_grid

        flat = np.ascontiguousarray(points, np.float32).reshape(-1, 3)
        values, gradients = np.empty(len(flat), np.float32), np.empty_like(flat)
        origin = self._LOW_DM.astype(np.float32)
        sample_grid(self._grid, origin, np.float32(self._step), flat, values, gradients)
        return values.reshape(points.shape[:-1]), unit(gradients).reshape(points.shape)

    def outside(self, points: NDArray, clearance: NDArray | float) -> NDArray:
        """Move points that are closer than ``clearance`` out along the gradient."""
        distance, gradient = self(points)
        missing = np.maximum(clearance - distance, 0.0)
        return points + gradient * missing[..., None]
