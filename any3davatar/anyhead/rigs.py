"""Camera rigs of the data suite: what stands in ``CAMERA_PARAMETERS.json``.

A rig is a list of views with a kind each: ``fixed`` cameras on a circle around the head, and
``random`` ones that come close (Any3DAvatar, section 3.2 and appendix C.1, gives 40 of each and the
elevations of the fixed ones). The rest is ours and stated below.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from any3davatar.anyhead.errors import DataError
from any3davatar.core import Cameras, intrinsics_from_fov
from any3davatar.core.rigs import accessory16, anyhead80, canonical_four, look_at, orbit, turntable

ViewKind = Literal["fixed", "random"]

CIRCULAR_ELEVATIONS_DEG = (-20.0, -10.0, 0.0, 10.0, 20.0)
CIRCULAR_AZIMUTHS = 8
RANDOM_VIEWS = 40
RANDOM_DISTANCE = (1.3, 3.2)  # from the head's centre: outside the unit sphere
RANDOM_ELEVATION_DEG = (-35.0, 60.0)
RANDOM_FOV_DEG = (18.0, 50.0)
RANDOM_ROLL_DEG = 15.0
FAR_VIEWS = 16
FAR_DISTANCE = (2.0, 3.2)  # what a small network learns from: it leaves out close-ups
# Random cameras look at a point of this ellipsoid, which lies inside every head: the middle of the
# picture is then covered, whatever the position.
AIM_CENTER = (0.0, 0.05, 0.02)
AIM_RADII = (0.18, 0.25, 0.22)


@dataclass(frozen=True, eq=False)
class Rig:
    """The cameras of one group.

    Attributes:
        name: a key of `RIGS`.
        seed: of the random cameras; 0 where there are none.
        cameras: (V,) in the world frame.
        kinds: V kinds.
        input_view: index of the view that a single-image method is given: level, from the front.
    """

    name: str
    seed: int
    cameras: Cameras
    kinds: tuple[ViewKind, ...]
    input_view: int = 0

    def __len__(self) -> int:
        return len(self.kinds)


def fixed_circular(size_px: int) -> Cameras:
    """Return the 40 fixed cameras: 8 azimuths at each of 5 elevations from -20 to 20 degrees.

    Every other ring is turned by half a step, so that the 40 see 16 different azimuths; the level
    ring holds the front. View index = 8 * ring + position.
    """
    step = 360 / CIRCULAR_AZIMUTHS
    azimuths = [
        step * i + (step / 2 if ring % 2 else 0.0)
        for ring in range(len(CIRCULAR_ELEVATIONS_DEG))
        for i in range(CIRCULAR_AZIMUTHS)
    ]
    elevations = [e for e in CIRCULAR_ELEVATIONS_DEG for _ in range(CIRCULAR_AZIMUTHS)]
    return orbit(azimuths, elevations, size_px=size_px)


def random_cameras(
    n_views: int, size_px: int, seed: int, distance: tuple[float, float] = RANDOM_DISTANCE
) -> Cameras:
    """Return cameras with random position, orientation and field of view that all see the head.

    Positions are uniform over directions between two elevations and over distances; each camera
    looks at its own point inside the head, and is rolled a little.
    """
    random = np.random.default_rng([seed, 0x72696773])  # a stream of its own beside the head's
    cameras = [_random_camera(random, size_px, distance) for _ in range(n_views)]
    return Cameras.concatenate(cameras)


def _random_camera(
    random: np.random.Generator, size_px: int, distance: tuple[float, float]
) -> Cameras:
    azimuth = random.uniform(-math.pi, math.pi)
    low, high = (math.sin(math.radians(angle)) for angle in RANDOM_ELEVATION_DEG)
    elevation = math.asin(random.uniform(low, high))
    away = [
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
        math.cos(elevation) * math.cos(azimuth),
    ]
    center = random.uniform(*distance) * torch.tensor(away, dtype=torch.float64)
    offset = random.normal(size=3)
    offset *= random.uniform() ** (1 / 3) / np.linalg.norm(offset)  # uniform in the unit ball
    target = torch.from_numpy(np.array(AIM_CENTER) + offset * np.array(AIM_RADII))
    roll = math.radians(random.uniform(-RANDOM_ROLL_DEG, RANDOM_ROLL_DEG))
    K = intrinsics_from_fov(random.uniform(*RANDOM_FOV_DEG), size_px, size_px, torch.float64)
    up = torch.tensor([math.sin(roll), math.cos(roll), 0.0], dtype=torch.float64)
    return look_at(center[None], target, up, K, size_px, size_px).to(torch.float32)


def _digital80(size_px: int, seed: int) -> Rig:
    cameras = [fixed_circular(size_px), random_cameras(RANDOM_VIEWS, size_px, seed)]
    fixed = len(cameras[0])
    kinds: tuple[ViewKind, ...] = ("fixed",) * fixed + ("random",) * RANDOM_VIEWS
    front = CIRCULAR_AZIMUTHS * CIRCULAR_ELEVATIONS_DEG.index(0.0)
    return Rig("digital80", seed, Cameras.concatenate(cameras), kinds, front)


def _digital40(size_px: int, seed: int) -> Rig:
    rings = fixed_circular(size_px)[CIRCULAR_AZIMUTHS : 4 * CIRCULAR_AZIMUTHS]  # -10, 0, 10 degrees
    far = random_cameras(FAR_VIEWS, size_px, seed, FAR_DISTANCE)
    kinds: tuple[ViewKind, ...] = ("fixed",) * len(rings) + ("random",) * FAR_VIEWS
    return Rig("digital40", seed, Cameras.concatenate([rings, far]), kinds, CIRCULAR_AZIMUTHS)


def _digital6(size_px: int, seed: int) -> Rig:
    fixed, close = turntable(4, size_px=size_px), random_cameras(2, size_px, seed)
    kinds: tuple[ViewKind, ...] = ("fixed",) * 4 + ("random",) * 2
    return Rig("digital6", seed, Cameras.concatenate([fixed, close]), kinds)


def _all_fixed(name: str, make: Callable[[int], Cameras], input_view: int) -> Callable[..., Rig]:
    def rig(size_px: int, _seed: int) -> Rig:
        cameras = make(size_px)
        return Rig(name, 0, cameras, ("fixed",) * len(cameras), input_view)

    return rig


# Rigs by name. digital80 is the paper's for digital humans, digital40 half of it, without
# close-ups, for more persons in the same hours; anyhead80 is the evaluation rig, accessory16 the
# grid's; the small ones are for trying a pipeline out.
RIGS: Mapping[str, Callable[[int, int], Rig]] = {
    "digital80": _digital80,
    "digital40": _digital40,
    "anyhead80": _all_fixed("anyhead80", anyhead80, 32),
    "accessory16": _all_fixed("accessory16", accessory16, 0),
    "canonical4": _all_fixed("canonical4", canonical_four, 0),
    "turntable8": _all_fixed("turntable8", lambda size_px: turntable(8, size_px=size_px), 0),
    "digital6": _digital6,
}


def make_rig(name: str, size_px: int, seed: int) -> Rig:
    """Return a rig by name.

    Args:
        name: a key of `RIGS`.
        size_px: width and height of the pictures.
        seed: of the random cameras; ignored by rigs without them.

    Raises:
        DataError: no rig has this name.
    """
    if name not in RIGS:
        raise DataError(f"got the rig {name!r}, expected one of {', '.join(RIGS)}")
    return RIGS[name](size_px, seed)
