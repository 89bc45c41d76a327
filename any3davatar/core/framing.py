"""Crop, resize and mirror pictures, always together with their cameras."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.cameras import Cameras
from any3davatar.core.images import Views, composite


def framed(
    views: Views,
    camera: Cameras,
    background: Float[Tensor, "3"],
    *,
    size_px: int,
    vertical_fov_deg: float,
) -> tuple[Views, Cameras]:
    """Return a view as a camera of a narrower field of view would take it, at another size.

    The window is a square of whole pixels around the principal point, as wide as
    `vertical_fov_deg` asks for, or the largest that the picture has where that is less. The
    camera that comes back is exactly the one of the pixels that come back: rounding the window
    moves its field of view by at most a pixel of the source.

    Args:
        views: one view, straight alpha, no leading dimensions.
        camera: its camera, no leading dimensions.
        background: laid behind it before pixels are averaged.
        size_px: width and height to return.
        vertical_fov_deg: field of view to return, at most.
    """
    left, top, side = _window(camera, vertical_fov_deg)
    window = (slice(None), slice(top, top + side), slice(left, left + side))
    alpha = views.alpha[window]
    stacked = torch.cat([composite(views.rgb[window], alpha, background), alpha])[None]
    if side != size_px:
        stacked = F.interpolate(
            stacked, (size_px, size_px), mode="bilinear", antialias=True, align_corners=False
        )
    picture = Views(stacked[0, :3].contiguous(), stacked[0, 3:].clamp(0, 1))
    return picture, framed_camera(camera, size_px=size_px, vertical_fov_deg=vertical_fov_deg)


def framed_camera(camera: Cameras, *, size_px: int, vertical_fov_deg: float) -> Cameras:
    """Return the camera of the picture that `framed` cuts out, without the picture."""
    left, top, side = _window(camera, vertical_fov_deg)
    return camera.cropped(left, top, side, side).resized(size_px, size_px)


def _window(camera: Cameras, vertical_fov_deg: float) -> tuple[int, int, int]:
    """Return left, top and side of the window, in pixels."""
    cx, cy = float(camera.K[0, 2]), float(camera.K[1, 2])
    wanted_px = 2 * float(camera.K[1, 1]) * math.tan(math.radians(vertical_fov_deg) / 2)
    # An even or odd side, so that the window can lie evenly around the principal point.
    parity = round(2 * cx) % 2
    side = min(2 * round((wanted_px - parity) / 2) + parity, camera.width, camera.height)
    left = min(max(round(cx - side / 2), 0), camera.width - side)
    top = min(max(round(cy - side / 2), 0), camera.height - side)
    return left, top, side


def mirrored(views: Views, cameras: Cameras) -> tuple[Views, Cameras]:
    """Return views of the head's mirror image (x becomes -x), and the cameras that took them.

    Left and right are swapped both in the world and in the picture: each picture is flipped, and
    its camera moves to the other side of the head.
    """
    swap = torch.tensor([-1.0, 1.0, 1.0, 1.0]).to(cameras.world_to_camera)
    K = cameras.K.clone()
    K[..., 0, 2] = cameras.width - K[..., 0, 2]
    moved = replace(cameras, world_to_camera=swap[:, None] * cameras.world_to_camera * swap, K=K)
    return Views(views.rgb.flip(-1), views.alpha.flip(-1)), moved
