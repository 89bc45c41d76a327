"""Smooth pseudo-random fields and named random streams.

Every part of a head draws from its own stream, so adding an earring never changes a hair.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

_CELLS = 32


def stream(seed: int, part: str) -> np.random.Generator:
    """Return the generator of one named part of one head."""
    return np.random.default_rng([seed, zlib.crc32(part.encode())])


class ValueNoise:
    """Trilinear noise in [-0.5, 0.5], periodic with 32 cells."""

    def __init__(self, seed: int, part: str) -> None:
        self._cells = stream(seed, part).random((_CELLS,) * 3).astype(np.float32)

    def __call__(self, points: NDArray, frequency: float) -> NDArray:
        """Sample (*b, 3) points at ``frequency`` cells per unit; returns (*b,)."""
        from scipy.ndimage import map_coordinates

        flat = np.asarray(points, np.float32).reshape(-1, 3) * frequency
        values = map_coordinates(self._cells, flat.T % _CELLS, order=1, mode="grid-wrap")
        return values.reshape(points.shape[:-1]) - 0.5
