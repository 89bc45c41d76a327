"""Light set-ups: a sky, a ground and a few broad lamps at infinity.

A lamp is a lobe of radiance ``color * exp(-(1 - w.d) / width^2)`` around its direction ``d``, so
everything from a softbox to a low sun is one formula. Directions are in the world frame.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.spec import Lighting

Rgb = tuple[float, float, float]


class Lamp(NamedTuple):
    """One lobe: azimuth and elevation in degrees, linear radiance, angular width."""

    azimuth_deg: float
    elevation_deg: float
    color: Rgb
    width: float = 0.42


@dataclass(frozen=True)
class Rig:
    """Sky and ground radiance and the lamps."""

    sky: Rgb
    ground: Rgb
    lamps: tuple[Lamp, ...]


def _grey(level: float) -> Rgb:
    return (level, level, level)


RIGS: dict[str, Rig] = {
    "studio": Rig(
        (0.60, 0.62, 0.66),
        (0.30, 0.27, 0.25),
        (
            Lamp(-34, 32, (3.1, 2.95, 2.75), 0.42),
            Lamp(58, 10, (0.85, 0.95, 1.10), 0.50),
            Lamp(160, 32, (1.6, 1.6, 1.7), 0.45),
        ),
    ),
    "soft": Rig(
        _grey(0.95),
        _grey(0.55),
        (Lamp(0, 35, (1.7, 1.66, 1.6), 0.75), Lamp(180, 40, _grey(0.8), 0.6)),
    ),
    "rembrandt": Rig(
        (0.22, 0.23, 0.26),
        (0.12, 0.11, 0.10),
        (
            Lamp(48, 42, (5.2, 4.9, 4.4), 0.34),
            Lamp(-70, 5, (0.40, 0.46, 0.55), 0.5),
            Lamp(-150, 30, (1.1, 1.15, 1.3), 0.4),
        ),
    ),
    "rim": Rig(
        (0.25, 0.26, 0.30),
        (0.15, 0.14, 0.14),
        (
            Lamp(8, 25, (1.5, 1.45, 1.4), 0.5),
            Lamp(128, 20, (4.6, 4.4, 4.0), 0.32),
            Lamp(-128, 20, (3.6, 4.0, 4.8), 0.32),
        ),
    ),
    "overcast": Rig(
        (1.35, 1.42, 1.55),
        (0.42, 0.42, 0.40),
        (Lamp(20, 80, (0.9, 0.92, 0.95), 0.9),),
    ),
    "sunset": Rig(
        (0.42, 0.46, 0.66),
        (0.30, 0.22, 0.18),
        (
            Lamp(-62, 10, (5.6, 2.9, 1.2), 0.34),
            Lamp(60, 30, (0.55, 0.65, 0.95), 0.7),
            Lamp(150, 20, (1.6, 1.1, 0.8), 0.5),
        ),
    ),
    "noon": Rig(
        (0.75, 0.90, 1.20),
        (0.50, 0.46, 0.38),
        (Lamp(-25, 56, (5.0, 4.8, 4.4), 0.28), Lamp(150, 40, (0.8, 0.85, 0.9), 0.6)),
    ),
    "night": Rig(
        (0.10, 0.12, 0.24),
        (0.10, 0.06, 0.12),
        (
            Lamp(-55, 12, (3.0, 0.6, 2.2), 0.42),
            Lamp(60, 12, (0.4, 1.9, 3.0), 0.42),
            Lamp(0, 45, (0.75, 0.75, 0.85), 0.6),
        ),
    ),
    "window": Rig(
        (0.38, 0.40, 0.44),
        (0.28, 0.25, 0.22),
        (Lamp(75, 18, (4.2, 4.4, 4.7), 0.45), Lamp(-100, 10, (0.55, 0.48, 0.40), 0.7)),
    ),
}


class Lobes(NamedTuple):
    """A rig as arrays: directions (L, 3), radiance (L, 3), widths (L,), sky (3,), ground (3,)."""

    directions: NDArray[np.float32]
    colors: NDArray[np.float32]
    widths: NDArray[np.float32]
    sky: NDArray[np.float32]
    ground: NDArray[np.float32]

    def falloff(self, directions: NDArray) -> NDArray:
        """Return each lamp's lobe at unit directions (D, 3): (D, L)."""
        cosine = directions @ self.directions.T
        return np.exp(-(1 - cosine) / self.widths**2)

    def radiance(self, directions: NDArray) -> NDArray:
        """Return the radiance that arrives from unit directions (D, 3): (D, 3)."""
        up = 0.5 + 0.5 * directions[:, 1:2]
        return self.sky * up + self.ground * (1 - up) + self.falloff(directions) @ self.colors


def lobes(lighting: Lighting) -> Lobes:
    """Turn and scale the named rig."""
    rig = RIGS[lighting.name]
    azimuths = [math.radians(lamp.azimuth_deg + lighting.turn_deg) for lamp in rig.lamps]
    elevations = [math.radians(lamp.elevation_deg) for lamp in rig.lamps]
    directions = [
        (math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a))
        for a, e in zip(azimuths, elevations, strict=True)
    ]

    def scaled(color) -> NDArray:
        return (np.array(color) * lighting.strength).astype(np.float32)

    return Lobes(
        np.array(directions, np.float32),
        scaled([lamp.color for lamp in rig.lamps]),
        np.array([lamp.width for lamp in rig.lamps], np.float32),
        scaled(rig.sky),
        scaled(rig.ground),
    )
