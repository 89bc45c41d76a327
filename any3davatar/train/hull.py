"""The mean head of a training set, where a network with ``hull_start`` begins.

Shape: nested visual hulls of mean silhouettes. The hull of a share s holds the points that every
camera sees covered in at least s of the heads. A canonical ray starts where it enters the hull of
one half; if it misses that, where it enters the narrowest that it meets, which is where the heads
with much hair have their surface. Opacity: the mean coverage of the pixel, at most the share of
that hull. Colour: the mean of the covered pixels.
"""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.readers import GroupEntry, HeadCapture
from any3davatar.core import Cameras, Views
from any3davatar.core.rigs import canonical_four
from any3davatar.io import FormatError
from any3davatar.model import Hull
from any3davatar.model.config import ModelConfig
from any3davatar.model.scaffold import no_ways
from any3davatar.train.config import TrainConfig
from any3davatar.train.samples import POSE_TOLERANCE, canonical_indices, read_framed

Read = TypeVar("Read")
Item = TypeVar("Item")
logger = logging.getLogger(__name__)

COVERED = 0.5
NARROWEST = 0.9  # of the greatest share on a ray that misses the hull of COVERED
SHARE_MIN = 0.01  # below, a ray meets no hull
RAY_STEPS = 128
WHOLE_FOV_DEG = 170.0  # wider than any picture
REACH_USED = 0.98  # of the config's depth reach: the network's start has no slope at its very end


def mean_hull(
    groups: Sequence[GroupEntry],
    config: TrainConfig,
    on_group: Callable[[], None] | None = None,
) -> Hull:
    """Compute the mean head of `config.hull_groups` groups, spread evenly over `groups`.

    Args:
        groups: the training set.
        config: the run; its network's cameras and size are the hull's.
        on_group: called when a group's turn comes, from any of the threads that read.

    Raises:
        DataError: a group lacks a canonical view; or a file can't be read, and ``on_broken`` is
            ``"stop"``. With ``"skip"`` its group is left out of the mean, and a warning says so.
    """
    chosen = evenly(groups, config.hull_groups)
    first = read_each(chosen, config, lambda group: group.capture())
    poses = _shared_poses(first, config)

    def see(group: GroupEntry) -> _Seen:
        if on_group is not None:
            on_group()
        return _see(group.capture(), poses, config)

    seen = read_each(chosen, config, see)
    opacity = torch.stack([one.canonical.alpha for one in seen]).mean(0)  # (4, 1, H, W)
    color = torch.stack([one.canonical.rgb for one in seen]).mean(0)
    silhouettes = torch.stack([one.silhouettes for one in seen]).mean(0)  # (V, 1, 2 H, 2 W)
    depth, share = nested_hull(silhouettes, seen[0].cameras, config)
    coverage = opacity[:, 0].clamp(0, 1)
    within = share >= COVERED
    return Hull(
        depth=depth,
        opacity=torch.where(within, coverage, coverage.minimum(share)).clamp_min(SHARE_MIN),
        rgb=(color / opacity.clamp_min(1e-3)).clamp(0, 1),
        **no_ways(config.model),
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the mean needs of one group: whole silhouettes, and canonical pictures over black."""

    silhouettes: Float[Tensor, "V 1 _ _"]
    cameras: Cameras
    canonical: Views


def _see(capture: HeadCapture, poses: Float[Tensor, "V 4 4"], config: TrainConfig) -> _Seen:
    model = config.model
    at = _matches(capture, poses).float().argmax(dim=1).tolist()
    black = torch.zeros(3)  # adds nothing to a sum of premultiplied colours
    silhouettes, cameras = read_whole(capture, at, size_px=2 * model.size_px)
    canonical, _ = read_framed(
        capture, at[:4], black, size_px=model.size_px, vertical_fov_deg=model.vertical_fov_deg
    )
    return _Seen(silhouettes, cameras, canonical)


def read_whole(
    capture: HeadCapture, indices: Sequence[int], *, size_px: int
) -> tuple[Float[Tensor, "V 1 _ _"], Cameras]:
    """Read silhouettes whole: a crop does not say what is beside it."""
    views, cameras = read_framed(
        capture, indices, torch.zeros(3), size_px=size_px, vertical_fov_deg=WHOLE_FOV_DEG
    )
    return views.alpha, cameras


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Return `count` of the items, spread over them in their order, or all where they are fewer."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def read_each(
    groups: Sequence[GroupEntry], config: TrainConfig, read: Callable[[GroupEntry], Read]
) -> list[Read]:
    """Read something of each group, in threads; those that can't be read stop or are left out."""
    found = []
    # Decoding and torch let go of the interpreter; in processes, their results would be copied.
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        waiting = [pool.submit(read, group) for group in groups]
        for group, future in zip(groups, waiting, strict=True):
            try:
                found.append(future.result())
            except (FormatError, OSError) as error:
                if config.on_broken == "stop":
                    raise DataError(
                        f"{group.id} can't be read for the mean head: {error}. Repair the data, or "
                        "train with on_broken=skip"
                    ) from error
                logger.warning("%s is left out of the mean head: %s", group.id, error)
    finally:
        pool.shutdown(cancel_futures=True)
    if not found:
        raise DataError(f"none of {len(groups)} groups could be read for the mean head")
    return found


def _shared_poses(captures: Sequence[HeadCapture], config: TrainConfig) -> Float[Tensor, "V 4 4"]:
    """Return the poses that every head was seen from: the canonical four, then the others."""
    poses = captures[0].cameras.world_to_camera
    canonical = canonical_indices(captures[0], config.model.radius)
    for capture in captures[1:]:
        canonical_indices(capture, config.model.radius)
    shared = torch.stack([_matches(capture, poses).any(dim=1) for capture in captures]).all(dim=0)
    others = [i for i in shared.nonzero()[:, 0].tolist() if i not in canonical]
    return poses[[*canonical, *others]]


def _matches(capture: HeadCapture, poses: Float[Tensor, "P 4 4"]) -> Bool[Tensor, "P V"]:
    """Tell which views of a capture were taken from which pose."""
    difference = capture.cameras.world_to_camera[None] - poses[:, None]
    return difference.abs().amax((-2, -1)) <= POSE_TOLERANCE


def nested_hull(
    alpha: Float[Tensor, "V 1 Hs Ws"], cameras: Cameras, config: TrainConfig
) -> tuple[Float[Tensor, "4 H W"], Float[Tensor, "4 H W"]]:
    """Return the camera depth at which each canonical ray enters its hull, and that hull's share.

    Args:
        alpha: mean silhouettes.
        cameras: (V,) cameras that saw them.
        config: the run, whose network's canonical cameras send the rays.

    Returns:
        Depth (z, world units), the centre's where a ray meets no hull; and the greatest share on
        the ray, in [0, 1].
    """
    model = config.model
    canonical = canonical_four(
        model.size_px, radius=model.radius, vertical_fov_deg=model.vertical_fov_deg
    )
    return carve(alpha, cameras, canonical, model, steps=RAY_STEPS)


def carve(
    alpha: Float[Tensor, "V 1 Hs Ws"],
    cameras: Cameras,
    canonical: Cameras,
    model: ModelConfig,
    *,
    steps: int,
) -> tuple[Float[Tensor, "4 H W"], Float[Tensor, "4 H W"]]:
    """Do the work of `nested_hull` for given canonical cameras, with rays cut into `steps`."""
    reach = REACH_USED * model.depth_reach
    depths = torch.linspace(model.radius - reach, model.radius + reach, steps)
    rays = _seen_rays(canonical, cameras)
    shares = torch.stack([_share(rays, float(depth), alpha) for depth in depths])
    shares = shares.unflatten(
        1, (len(canonical), canonical.height, canonical.width)
    )  # (D, 4, H, W)
    greatest = shares.amax(dim=0)
    entered = shares >= (NARROWEST * greatest).clamp_max(COVERED)
    first = entered.float().argmax(dim=0)  # the first of equal maxima
    met = greatest >= SHARE_MIN
    return torch.where(met, depths[first], torch.full_like(greatest, model.radius)), greatest


def _seen_rays(
    canonical: Cameras, cameras: Cameras
) -> tuple[Float[Tensor, "V 3 N"], Float[Tensor, "V 3 N"]]:
    """Return the canonical rays in the pictures of cameras, as homogeneous positions in [-1, 1].

    A point on a ray is an affine function of its depth in its own view, and so is where it projects
    to, up to the division: the sum of the first and of depth times the second.
    """
    origins, directions = canonical.rays()  # (4, H, W, 3)
    forward = canonical.world_to_camera[:, None, None, 2, :3]
    along = directions / (directions * forward).sum(-1, keepdim=True)
    sides = cameras.K.new_tensor([cameras.width, cameras.height])
    to_square = torch.diag(torch.cat([2 / sides, sides.new_ones(1)]))
    to_square[:2, 2] = -1
    projection = to_square @ cameras.K @ cameras.world_to_camera[..., :3, :]  # (V, 3, 4)
    turn, shift = projection[..., :3], projection[..., 3:]
    return turn @ origins.reshape(-1, 3).mT + shift, turn @ along.reshape(-1, 3).mT


def _share(
    rays: tuple[Float[Tensor, "V 3 N"], Float[Tensor, "V 3 N"]],
    depth: float,
    alpha: Float[Tensor, "V 1 Hs Ws"],
) -> Float[Tensor, "N"]:
    """Return the least coverage that any camera sees at one depth of each ray."""
    start, along = rays
    at = torch.add(start, along, alpha=depth)
    z = at[:, 2]
    grid = (at[:, :2] / z[:, None]).movedim(1, -1)
    # What lies outside a picture reads as 0.
    seen = F.grid_sample(alpha, grid[:, None], align_corners=False)[:, 0, 0]
    return torch.where(z > 0, seen, 0.0).amin(dim=0)
