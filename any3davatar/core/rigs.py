"""Camera rigs: where the cameras of the model, the data suite and the protocols stand.

Angles in degrees; azimuth 0 sees the face and grows toward the subject's left, elevation is
positive above. All rigs look at the origin.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.cameras import Cameras, intrinsics_from_fov
from any3davatar.core.errors import InvalidInput

RADIUS = 2.7  # default distance to the head's centre: Any3DAvatar, and FaceLift's cameras
VERTICAL_FOV_DEG = 50.0
CANONICAL_AZIMUTHS_DEG = {"front": 0.0, "left": 90.0, "right": -90.0, "back": 180.0}
ANYHEAD80_ELEVATIONS_DEG = (-20.0, -10.0, 0.0, 10.0, 20.0)
ANYHEAD80_AZIMUTHS = 16


def direction(azimuth_deg: float, elevation_deg: float) -> Float[Tensor, "3"]:
    """Return the unit vector from the head's centre toward a camera at these angles."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    return torch.tensor(
        [
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
            math.cos(elevation) * math.cos(azimuth),
        ],
        dtype=torch.float64,
    )


def angles_of(directions: Float[Tensor, "*b 3"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Return azimuth in (-180, 180] and elevation, both in degrees, of vectors from the centre."""
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    return torch.rad2deg(torch.atan2(x, z)), torch.rad2deg(torch.asin(y.clamp(-1, 1)))


def look_at(
    centers: Float[Tensor, "*b 3"],
    target: Float[Tensor, "3"],
    up: Float[Tensor, "3"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
) -> Cameras:
    """Return cameras at `centers` that look at `target` with `up` upward in the picture.

    Raises:
        InvalidInput: a centre lies on the target, or the line of sight is parallel to `up`.
    """
    target, up, K = target.to(centers), up.to(centers), K.to(centers)
    forward = target - centers
    if bool((forward.norm(dim=-1) < 1e-9).any()):
        raise InvalidInput("a camera stands on its target: it has no line of sight")
    forward = torch.nn.functional.normalize(forward, dim=-1)
    right = torch.linalg.cross(forward, up.expand_as(forward))
    if bool((right.norm(dim=-1) < 1e-6 * up.norm()).any()):
        raise InvalidInput("a camera looks along `up`: give another up direction for it")
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=-2)
    world_to_camera = centers.new_zeros(*centers.shape[:-1], 4, 4)
    world_to_camera[..., :3, :3] = rotation
    world_to_camera[..., :3, 3] = -(rotation @ centers[..., None])[..., 0]
    world_to_camera[..., 3, 3] = 1
    return Cameras(world_to_camera, K.expand(*centers.shape[:-1], 3, 3), width, height)


def orbit(
    azimuths_deg: Sequence[float],
    elevations_deg: Sequence[float],
    *,
    size_px: int,
    radius: float = RADIUS,
    vertical_fov_deg: float = VERTICAL_FOV_DEG,
) -> Cameras:
    """Return one camera for each (azimuth, elevation) pair, on a sphere around the head's centre.

    Raises:
        InvalidInput: the two sequences differ in length, an elevation is not in (-90, 90), or the
            radius is not positive.
    """
    if len(azimuths_deg) != len(elevations_deg):
        raise InvalidInput(
            f"azimuths and elevations must pair up; got {len(azimuths_deg)} and "
            f"{len(elevations_deg)}"
        )
    if any(not -90 < elevation < 90 for elevation in elevations_deg):
        raise InvalidInput(f"elevations must lie in (-90, 90); got {list(elevations_deg)}")
    if not (math.isfinite(radius) and radius > 0):
        raise InvalidInput(f"radius must be positive; got {radius}")
    K = intrinsics_from_fov(vertical_fov_deg, size_px, size_px, dtype=torch.float64)
    pairs = zip(azimuths_deg, elevations_deg, strict=True)
    directions = [direction(azimuth, elevation) for azimuth, elevation in pairs]
    centers = radius * torch.stack(directions) if directions else torch.zeros(0, 3).double()
    up = torch.tensor([0.0, 1.0, 0.0])
    return look_at(centers, torch.zeros(3), up, K, size_px, size_px).to(torch.float32)


def canonical_four(
    size_px: int, *, radius: float = RADIUS, vertical_fov_deg: float = VERTICAL_FOV_DEG
) -> Cameras:
    """Return the canonical views front, left, right, back (Any3DAvatar, section 3.1).

    "Left" is the camera at azimuth +90, which sees the subject's left side.
    """
    azimuths = list(CANONICAL_AZIMUTHS_DEG.values())
    return orbit(
        azimuths, [0.0] * 4, size_px=size_px, radius=radius, vertical_fov_deg=vertical_fov_deg
    )


def turntable(
    n_views: int,
    *,
    size_px: int,
    elevation_deg: float = 0.0,
    radius: float = RADIUS,
    vertical_fov_deg: float = VERTICAL_FOV_DEG,
) -> Cameras:
    """Return one even turn, from the front toward the subject's left."""
    if n_views < 1:
        raise InvalidInput(f"a turntable has at least 1 view; got {n_views}")
    azimuths = [360 * i / n_views for i in range(n_views)]
    return orbit(
        azimuths,
        [elevation_deg] * n_views,
        size_px=size_px,
        radius=radius,
        vertical_fov_deg=vertical_fov_deg,
    )


def anyhead80(
    size_px: int, *, radius: float = RADIUS, vertical_fov_deg: float = VERTICAL_FOV_DEG
) -> Cameras:
    """Return the 80 evaluation views: elevations -20..20 by 10, azimuths every 22.5 degrees.

    View index = 16 * elevation row + azimuth column (Any3DAvatar, section 4.1, gives the number
    of views and the range of elevations; the grid is ours).
    """
    step = 360 / ANYHEAD80_AZIMUTHS
    elevations = [e for e in ANYHEAD80_ELEVATIONS_DEG for _ in range(ANYHEAD80_AZIMUTHS)]
    azimuths = [step * i for i in range(ANYHEAD80_AZIMUTHS)] * len(ANYHEAD80_ELEVATIONS_DEG)
    return orbit(
        azimuths, elevations, size_px=size_px, radius=radius, vertical_fov_deg=vertical_fov_deg
    )


def accessory16(
    size_px: int, *, radius: float = RADIUS, vertical_fov_deg: float = VERTICAL_FOV_DEG
) -> Cameras:
    """Return the 16 views of the accessory grid: 8 at elevation 0, 4 at -10, 4 at +10.

    Any3DAvatar, appendix C, gives the counts; azimuths are even, from the front.
    """
    azimuths = [45.0 * i for i in range(8)] + [90.0 * i for i in range(4)] * 2
    elevations = [0.0] * 8 + [-10.0] * 4 + [10.0] * 4
    return orbit(
        azimuths, elevations, size_px=size_px, radius=radius, vertical_fov_deg=vertical_fov_deg
    )


def _turntable16(size_px: int, *, radius: float, vertical_fov_deg: float) -> Cameras:
    return turntable(16, size_px=size_px, radius=radius, vertical_fov_deg=vertical_fov_deg)


# Rigs by the name that a command line gives.
RIGS: Mapping[str, Callable[..., Cameras]] = {
    "anyhead80": anyhead80,
    "accessory16": accessory16,
    "canonical4": canonical_four,
    "turntable16": _turntable16,
}
