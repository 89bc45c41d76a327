"""What one training sample is: a portrait, clean canonical views, and views to compare.

Sample n is a function of the data set, the configuration, and n.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.readers import GroupEntry, HeadCapture
from any3davatar.core import Cameras, Views
from any3davatar.core.framing import framed, mirrored
from any3davatar.core.rigs import canonical_four
from any3davatar.io import FormatError
from any3davatar.model.embed import network_input
from any3davatar.train.config import TrainConfig

POSE_TOLERANCE = 0.02  # of a canonical camera: world units, and entries of its rotation
MIRRORED_CANONICAL = [0, 2, 1, 3]  # front, right, left, back


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """Samples side by side; H = W is the network's picture size.

    Attributes:
        numbers: (B,) which samples of the run these are.
        present: (B,) 1 for a sample, 0 where one was left out: its place holds zeros that nothing
            may look at, so that all processes keep the same shapes.
        portrait: (B, C, H, W) over the background, with alpha where the network takes it.
        portrait_rays: (B, 6, H, W) Plücker rays of its camera.
        canonical: (B, 4, 3, H, W) true canonical views over the background; zeros where the
            objective does not need them.
        target_rgb: (B, V, 3, H, W) over the background.
        target_alpha: (B, V, 1, H, W).
        world_to_camera: (B, V, 4, 4) of the targets.
        K: (B, V, 3, 3) of the targets.
    """

    numbers: Int[Tensor, "B"]
    present: Float[Tensor, "B"]
    portrait: Float[Tensor, "B C H W"]
    portrait_rays: Float[Tensor, "B 6 H W"]
    canonical: Float[Tensor, "B 4 3 H W"]
    target_rgb: Float[Tensor, "B V 3 H W"]
    target_alpha: Float[Tensor, "B V 1 H W"]
    world_to_camera: Float[Tensor, "B V 4 4"]
    K: Float[Tensor, "B V 3 3"]

    @property
    def target_cameras(self) -> Cameras:
        """(B, V) cameras of the targets."""
        size = self.portrait.shape[-1]
        return Cameras(self.world_to_camera, self.K, size, size)

    def to(self, device: torch.device) -> "TrainBatch":
        """Return the batch on another device."""
        return TrainBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Skipped:
    """A sample that was left out.

    Attributes:
        number: which sample of the run.
        id: the group.
        reason: what its reader said.
    """

    number: int
    id: str
    reason: str


def join(parts: Sequence[TrainBatch]) -> TrainBatch:
    """Return batches as one."""
    return TrainBatch(
        *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(TrainBatch))
    )


def seed_of(seed: int, purpose: str, number: int) -> int:
    """Return a seed for one purpose of one sample: no two purposes share a stream."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def generator_of(seed: int, purpose: str, number: int) -> torch.Generator:
    """Return the random numbers of one purpose of one sample."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, number))


@lru_cache(maxsize=2)  # the end of an epoch and the beginning of the next
def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """Return the order in which an epoch visits `count` groups."""
    return torch.randperm(count, generator=generator_of(seed, "order", epoch)).tolist()


def group_of(config: TrainConfig, number: int, count: int) -> int:
    """Return the index of the group that sample `number` of a run shows."""
    return epoch_order(config.seed, number // count, count)[number % count]


def canonical_indices(capture: HeadCapture, radius: float) -> list[int]:
    """Return the indices of the views front, left, right, back.

    Raises:
        DataError: the group has no view from one of the canonical cameras.
    """
    wanted = canonical_four(1, radius=radius).world_to_camera
    difference = (capture.cameras.world_to_camera[None] - wanted[:, None]).abs().amax((-2, -1))
    nearest = difference.argmin(dim=1)
    for name, view, distance in zip(
        ("front", "left", "right", "back"), nearest.tolist(), difference.amin(1), strict=True
    ):
        if float(distance) > POSE_TOLERANCE:
            raise DataError(
                f"{capture.id}: got no view from the {name} canonical camera (radius {radius:g}; "
                f"the nearest, view {view}, is {float(distance):.3f} away), expected all four; "
                "build the data with a rig that has them, or train with objective=one-step and "
                "avas=false"
            )
    return nearest.tolist()


def input_candidates(capture: HeadCapture, range_deg: float) -> list[int]:
    """Return the views that may be the portrait: within an angle of straight ahead."""
    if range_deg == 0:
        return [capture.input_view]
    centers = torch.nn.functional.normalize(capture.cameras.centers, dim=-1)
    angles_deg = torch.rad2deg(torch.acos(centers[:, 2].clamp(-1, 1)))
    return (angles_deg <= range_deg).nonzero()[:, 0].tolist()


def target_candidates(capture: HeadCapture, config: TrainConfig) -> list[int]:
    """Return the views that the loss may compare.

    Raises:
        DataError: there are fewer than a sample needs.
    """
    distance = capture.cameras.centers.norm(dim=-1)
    fits = (distance >= config.target_distance_min) & (distance <= config.target_distance_max)
    found = fits.nonzero()[:, 0].tolist()
    if len(found) < config.views_per_sample:
        raise DataError(
            f"{capture.id}: got {len(found)} views at a distance of {config.target_distance_min:g} "
            f"to {config.target_distance_max:g}, expected at least views_per_sample = "
            f"{config.views_per_sample}; lower that, or widen the distances"
        )
    return found


class HeadSamples(Dataset[TrainBatch | Skipped]):
    """The samples of a run, by number; pictures are read when a sample is asked for.

    Args:
        groups: what to learn from.
        config: the run.
    """

    def __init__(self, groups: Sequence[GroupEntry], config: TrainConfig) -> None:
        if not groups:
            raise DataError(
                "the data set lists no group to train on: build one with `any3davatar data build`"
            )
        self.groups = groups
        self.config = config
        self.background = torch.tensor(config.background)

    def __len__(self) -> int:
        return self.config.total_samples

    def id_of(self, number: int) -> str:
        """Return the id of the group that a sample shows."""
        return self.groups[group_of(self.config, number, len(self.groups))].id

    def __getitem__(self, number: int) -> TrainBatch | Skipped:
        """Read sample `number` as a batch of one.

        Raises:
            DataError: a picture or camera file can't be read, and ``on_broken`` is ``"stop"``; or
                the group lacks views, whatever ``on_broken`` says.
        """
        group = self.groups[group_of(self.config, number, len(self.groups))]
        try:
            return self._read(group.capture(), number)
        except (FormatError, OSError) as error:
            if self.config.on_broken == "skip":
                return Skipped(number, group.id, str(error))
            raise DataError(
                f"{group.id} (sample {number}) can't be read: {error}. Repair the data, or train "
                "with on_broken=skip, which leaves such samples out and records them"
            ) from error

    def _read(self, capture: HeadCapture, number: int) -> TrainBatch:
        config, generator = self.config, generator_of(self.config.seed, "views", number)
        candidates = input_candidates(capture, config.input_range_deg)
        portrait_at = candidates[int(torch.randint(len(candidates), (), generator=generator))]
        allowed = target_candidates(capture, config)
        drawn = torch.randperm(len(allowed), generator=generator)[: config.views_per_sample]
        targets_at = [allowed[i] for i in drawn.tolist()]
        flip = config.flip and bool(torch.rand((), generator=generator) < 0.5)
        canonical_at = (
            canonical_indices(capture, config.model.radius) if config.needs_clean_views else []
        )
        order = [portrait_at, *canonical_at, *targets_at]
        size = config.model.size_px
        views, cameras = read_framed(
            capture,
            order,
            self.background,
            size_px=size,
            vertical_fov_deg=config.model.vertical_fov_deg,
        )
        if flip:
            views, cameras = mirrored(views, cameras)
        first = 1 + len(canonical_at)
        clean = views.rgb[1:first]
        if flip and canonical_at:
            clean = clean[MIRRORED_CANONICAL]
        return TrainBatch(
            numbers=torch.tensor([number]),
            present=torch.ones(1),
            portrait=network_input(views[:1], config.model),
            portrait_rays=cameras[:1].plucker(),
            canonical=clean[None] if canonical_at else torch.zeros(1, 4, 3, size, size),
            target_rgb=views.rgb[None, first:],
            target_alpha=views.alpha[None, first:],
            world_to_camera=cameras.world_to_camera[None, first:],
            K=cameras.K[None, first:],
        )


def read_framed(
    capture: HeadCapture,
    indices: Sequence[int],
    background: Float[Tensor, "3"],
    *,
    size_px: int,
    vertical_fov_deg: float,
) -> tuple[Views, Cameras]:
    """Read some views, each file once, as `framed` frames them."""
    made = {
        i: framed(
            capture.pictures[i].read(),
            capture.cameras[i],
            background,
            size_px=size_px,
            vertical_fov_deg=vertical_fov_deg,
        )
        for i in dict.fromkeys(indices)
    }
    pictures, cameras = zip(*(made[i] for i in indices), strict=True)
    return (
        Views(
            torch.stack([picture.rgb for picture in pictures]),
            torch.stack([picture.alpha for picture in pictures]),
        ),
        Cameras.concatenate([camera.reshape(1) for camera in cameras]),
    )


def placeholder(number: int, config: TrainConfig) -> TrainBatch:
    """Return the place of a sample that was left out: zeros, marked as absent."""
    size, views = config.model.size_px, config.views_per_sample
    return TrainBatch(
        numbers=torch.tensor([number]),
        present=torch.zeros(1),
        portrait=torch.zeros(1, config.model.portrait_channels, size, size),
        portrait_rays=torch.zeros(1, 6, size, size),
        canonical=torch.zeros(1, 4, 3, size, size),
        target_rgb=torch.zeros(1, views, 3, size, size),
        target_alpha=torch.zeros(1, views, 1, size, size),
        world_to_camera=torch.eye(4).expand(1, views, 4, 4),
        K=torch.eye(3).expand(1, views, 3, 3),
    )
