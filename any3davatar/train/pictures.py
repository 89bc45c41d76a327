"""Held-out heads during training: the truth above the prediction, and its PSNR."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.core import Cameras, Gaussians
from any3davatar.core.rigs import angles_of
from any3davatar.model import Any3DAvatar
from any3davatar.model.embed import network_input
from any3davatar.render import render
from any3davatar.train.config import TrainConfig
from any3davatar.train.samples import generator_of, read_framed, target_candidates

AZIMUTHS_DEG = (0.0, 45.0, 90.0, 180.0, -90.0)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Heads to look at, all from about the same sides.

    Attributes:
        portrait: (B, C, H, W) as the network takes it.
        portrait_rays: (B, 6, H, W).
        truth: (B, V, 3, H, W).
        cameras: (B, V).
    """

    portrait: Float[Tensor, "B C H W"]
    portrait_rays: Float[Tensor, "B 6 H W"]
    truth: Float[Tensor, "B V 3 H W"]
    cameras: Cameras


def read_held_out(
    groups: Sequence[GroupEntry], config: TrainConfig, device: torch.device
) -> HeldOut:
    """Read the portrait of each group and its views nearest to `AZIMUTHS_DEG`, eye-level first."""
    background = torch.tensor(config.background)
    portraits, rays, truths, cameras = [], [], [], []
    for group in groups:
        capture = group.capture()
        candidates = target_candidates(capture, config)
        azimuth, elevation = angles_of(capture.cameras.centers[candidates])
        chosen = []
        for wanted in AZIMUTHS_DEG:
            turn = (azimuth - wanted + 180) % 360 - 180
            chosen.append(candidates[int((turn.square() + elevation.square()).argmin())])
        views, found = read_framed(
            capture,
            [capture.input_view, *chosen],
            background,
            size_px=config.model.size_px,
            vertical_fov_deg=config.model.vertical_fov_deg,
        )
        portraits.append(network_input(views[0], config.model))
        rays.append(found[0].plucker())
        truths.append(views.rgb[1:])
        cameras.append(found[1:].reshape(1, len(chosen)))
    return HeldOut(
        torch.stack(portraits).to(device),
        torch.stack(rays).to(device),
        torch.stack(truths).to(device),
        Cameras.concatenate(cameras).to(device),
    )


@torch.no_grad()
def predicted_views(
    network: nn.Module, model: Any3DAvatar, held_out: HeldOut, config: TrainConfig
) -> Float[Tensor, "B V 3 H W"]:
    """Render what the network makes of the portraits in one step, from the same noise each time.

    Args:
        network: a `TrainingNetwork`, wrapped or not.
        model: the network inside.
        held_out: what to look at.
        config: the run.
    """
    noise = torch.cat(
        [
            model.start_state(1, generator_of(config.seed, "held-out noise", i))
            for i in range(len(held_out.portrait))
        ]
    )
    clean = torch.zeros_like(held_out.portrait[:, None, :3]).expand(-1, 4, -1, -1, -1)
    t = torch.zeros_like(held_out.portrait[:, 0, 0, 0])
    tensors = network(held_out.portrait, held_out.portrait_rays, clean, noise, t)
    gaussians = Gaussians(**{k: v for k, v in tensors.items() if k != "images"})
    background = held_out.truth.new_tensor(config.background)
    return render(gaussians, held_out.cameras, background).rgb.clamp(0, 1)


def psnr_db(
    ours: Float[Tensor, "B V 3 H W"], truth: Float[Tensor, "B V 3 H W"]
) -> Float[Tensor, "B V"]:
    """Return the peak signal-to-noise ratio of each view."""
    return -10 * (ours - truth).square().mean(dim=(-3, -2, -1)).clamp_min(1e-10).log10()


def sheet(held_out: HeldOut, ours: Float[Tensor, "B V 3 H W"]) -> Float[Tensor, "3 H2 W2"]:
    """Set truth above prediction, head under head; the portrait stands at the left of both."""
    rows = []
    for portrait, truth, made in zip(held_out.portrait, held_out.truth, ours, strict=True):
        for views in (truth, made):
            rows.append(torch.cat([portrait[:3], *views], dim=-1))
    return torch.cat(rows, dim=-2)
