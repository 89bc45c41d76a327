"""What outputs of methods become, so that every one can be looked at from the protocol's cameras.

Gaussians are rendered; a mesh is rasterized (`a3d_bench.methods.mesh`); pictures that were taken by
other cameras are used where one of those cameras stands near enough, and moved over the plane
through the head's centre to where the asked camera would see it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import Cameras, Gaussians, InvalidInput, Views
from any3davatar.core.images import composite
from any3davatar.render import render

_EDGE_ON = 1e-3  # cosine between a ray and a plane below which the plane has no width
_SAMPLES_MAX = 16  # along each side of a pixel
_THINNEST = 0.05  # cosine between a plane's normal and the camera: a picture seen as a sliver


@dataclass(frozen=True, eq=False)
class GaussianAvatar:
    """Gaussians in the canonical world.

    Attributes:
        gaussians: one set.
        details: what the method says of this head; reports repeat it.
    """

    gaussians: Gaussians
    details: Mapping[str, str] = field(default_factory=dict)

    def render(self, cameras: Cameras, background: Float[Tensor, "3"]) -> Views:
        """Return (V,) views over the background."""
        device = self.gaussians.means.device
        return render(self.gaussians, cameras.to(device), background.to(device))


@dataclass(frozen=True, eq=False)
class PlaneAvatar:
    """A picture on a plane through the head's centre that faces the camera which took it.

    Seen from behind it shows its back: the same picture, the other way round. Seen from the side it
    is a sliver, turned by up to three degrees for it, and never nothing: a blank view has no score,
    and a floor without its worst views would be too high.

    Attributes:
        straight_rgb: (3, H, W), colour not mixed with a background.
        alpha: (1, H, W).
        camera: that took it (no leading dimensions), or None: one straight ahead, with the
            distance and the field of view of the camera that looks at it.
    """

    straight_rgb: Float[Tensor, "3 H W"]
    alpha: Float[Tensor, "1 H W"]
    camera: Cameras | None

    def render(self, cameras: Cameras, background: Float[Tensor, "3"]) -> Views:
        """Return (V,) views over the background."""
        shown = []
        for index in range(len(cameras)):
            seen_by = cameras[index]
            took = _straight_ahead(seen_by) if self.camera is None else self.camera
            height, width = self.alpha.shape[-2:]
            shown.append(
                through_plane(
                    Views(self.straight_rgb, self.alpha),
                    took.resized(width, height),
                    seen_by,
                    _not_edge_on(took.centers, seen_by.centers),
                )
            )
        rgb = torch.stack([view.rgb for view in shown])
        alpha = torch.stack([view.alpha for view in shown])
        return Views(composite(rgb, alpha, background), alpha)


def _not_edge_on(normal: Float[Tensor, "3"], center: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """Return a plane's unit normal, turned as little as shows a camera at `center` the plane."""
    normal = torch.nn.functional.normalize(normal, dim=-1)
    toward = torch.nn.functional.normalize(center, dim=-1)
    cosine = float(normal @ toward)
    if abs(cosine) >= _THINNEST:
        return normal
    side = 1.0 if cosine >= 0 else -1.0
    across = torch.nn.functional.normalize(normal - cosine * toward, dim=-1)
    return side * _THINNEST * toward + (1 - _THINNEST**2) ** 0.5 * across


def through_plane(
    views: Views, took: Cameras, seen_by: Cameras, normal: Float[Tensor, "3"]
) -> Views:
    """Return a picture as another camera sees it on a plane through the origin.

    A picture that is finer than what is asked for is averaged, not picked from.

    Args:
        views: one view with straight alpha; its size is that of `took`.
        took: the camera that took it.
        seen_by: the camera that looks at the plane.
        normal: of the plane, unit.

    Returns:
        One view with straight alpha, 0 where the plane is not seen.
    """
    finer = _pixels_per_unit(took) / _pixels_per_unit(seen_by)
    # A hair below the ratio: a camera that looks at its own picture is not to be averaged.
    samples = min(max(math.ceil(finer - 0.01), 1), _SAMPLES_MAX)
    fine = seen_by.resized(samples * seen_by.width, samples * seen_by.height)
    premultiplied = F.avg_pool2d(_on_plane(views, took, fine, normal)[None], samples)[0]
    alpha = premultiplied[3:].clamp(0, 1)
    return Views((premultiplied[:3] / alpha.clamp_min(1e-6)).clamp(0, 1), alpha)


def _pixels_per_unit(camera: Cameras) -> float:
    """Return how many pixels a unit of length at the origin is wide."""
    return float(camera.K[0, 0] / camera.centers.norm().clamp_min(1e-6))


def _on_plane(
    views: Views, took: Cameras, seen_by: Cameras, normal: Float[Tensor, "3"]
) -> Float[Tensor, "4 H W"]:
    """Sample premultiplied colour and alpha where the rays of `seen_by` meet the plane."""
    origins, directions = seen_by.rays()
    slope = directions @ normal
    distance = -(origins @ normal) / torch.where(
        slope.abs() < _EDGE_ON, torch.full_like(slope, _EDGE_ON), slope
    )
    points = (origins + distance[..., None] * directions).reshape(-1, 3)
    pixels, depth = took.project(points)
    size = pixels.new_tensor([took.width, took.height])
    grid = (2 * pixels / size - 1).reshape(1, seen_by.height, seen_by.width, 2)
    seen = (slope.abs() >= _EDGE_ON) & (distance > 0) & (depth.reshape(slope.shape) > 0)
    premultiplied = torch.cat([views.rgb * views.alpha, views.alpha])[None]
    # Far outside is outside: what is not finite there would spread.
    grid = grid.nan_to_num(9.0).clamp(-9, 9)
    return F.grid_sample(premultiplied, grid, mode="bilinear", align_corners=False)[0] * seen


class NoView(LookupError):
    """A camera that no picture of a fixed set stands near enough to."""


@dataclass(frozen=True, eq=False)
class FixedViews:
    """Pictures by cameras of the method's own choice: a turntable.

    Attributes:
        pictures: (3, H, W) over `background`, by index of their camera; only those that are
            looked at are needed.
        cameras: (N,) in the canonical world.
        background: the colour that they lie over.
        tolerance_deg: how far from the asked direction a camera may stand.
    """

    pictures: Mapping[int, Float[Tensor, "3 H W"]]
    cameras: Cameras
    background: Float[Tensor, "3"]
    tolerance_deg: float

    def nearest(self, camera: Cameras) -> tuple[int, float]:
        """Return the index of the camera that stands nearest in direction, and the angle, deg."""
        wanted = torch.nn.functional.normalize(camera.centers, dim=-1)
        standing = torch.nn.functional.normalize(self.cameras.centers, dim=-1)
        # Angles by the chord: the arc cosine has no precision where they are small.
        angles = 2 * torch.asin(((standing - wanted).norm(dim=-1) / 2).clamp(max=1))
        index = int(angles.argmin())
        return index, float(torch.rad2deg(angles[index]))

    def frame_of(self, camera: Cameras) -> int:
        """Return the index of the camera whose picture shows what `camera` is to see.

        Raises:
            NoView: no camera stands near enough.
        """
        index, angle_deg = self.nearest(camera)
        if angle_deg > self.tolerance_deg:
            raise NoView(
                f"the nearest frame, {index}, looks from {angle_deg:.1f} degrees away; at most "
                f"{self.tolerance_deg:g} are allowed"
            )
        return index

    def view(self, camera: Cameras, background: Float[Tensor, "3"]) -> Views:
        """Return the view of one camera over the background.

        The picture is moved over the plane through the head's centre that faces `camera`: other
        distances and fields of view are evened out there.

        Raises:
            NoView: no camera stands near enough.
            InvalidInput: the frames lie over another colour than is asked for.
        """
        index = self.frame_of(camera)
        picture = self.pictures[index]
        height, width = picture.shape[-2:]
        normal = torch.nn.functional.normalize(camera.centers, dim=-1)
        moved = through_plane(
            Views(picture, torch.ones_like(picture[:1])),
            self.cameras[index].resized(width, height),
            camera,
            normal,
        )
        if float((self.background - background).abs().max()) > 1 / 255:
            raise InvalidInput(
                f"the frames lie over the colour {self.background.tolist()}, the protocol wants "
                f"{background.tolist()}; render them over that colour, or with alpha"
            )
        return Views(composite(moved.rgb, moved.alpha, background), moved.alpha)


def _straight_ahead(like: Cameras) -> Cameras:
    from any3davatar.core.rigs import look_at

    center = like.centers.new_tensor([0.0, 0.0, 1.0]) * like.centers.norm()
    up = like.centers.new_tensor([0.0, 1.0, 0.0])
    return look_at(center, torch.zeros(3), up, like.K, like.width, like.height)
