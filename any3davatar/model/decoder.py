"""`D_gs`: denoised Gaussian tokens to Gaussians. Raw network outputs exist in this file only."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.core.gaussians import Gaussians
from any3davatar.core.rotations import multiply_quaternions
from any3davatar.model.config import VIEWS, ModelConfig
from any3davatar.model.scaffold import Scaffold
from any3davatar.model.start import Start

# offset 2 and depth 1 (position), scale, rotation, opacity, colour: 14 numbers, section 3.1
RAW = (2, 1, 3, 4, 1, 3)
SEEN_COLOR_REACH = 0.3  # mid-grey stays within 0.43 and 0.57


class GaussianDecoder(nn.Module):
    """Upsample tokens to one feature per pixel, then map each to a Gaussian by an MLP.

    The upsampling is linear and ends in a pixel shuffle: a token is the only knowledge about its
    p x p pixels, so each pixel reads it through weights of its own, as the tokenizer wrote it.
    Interpolating tokens instead would hand neighbouring pixels nearly the same feature, and a
    pointwise MLP cannot tell them apart afterwards. ``point_channels = 0`` leaves the MLP out: over
    64 channels it is nearly half of a small network's time on a CPU.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.point_channels
        self.upsample = nn.Linear(config.width, config.patch_px**2 * (channels or sum(RAW)))
        self.mlp = (
            nn.Sequential(
                nn.Linear(channels, 2 * channels),
                nn.GELU(),
                nn.Linear(2 * channels, sum(RAW)),
            )
            if channels
            else nn.Identity()
        )

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the 14 numbers."""
        layer = self.mlp[-1] if isinstance(self.mlp, nn.Sequential) else self.upsample
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(
        self,
        tokens: Float[Tensor, "B T D"],
        scaffold: Scaffold,
        start: Start,
        start_color: Float[Tensor, "_ 4 3 H W"],
    ) -> Gaussians:
        """Return N = 4 H W Gaussians a sample, ordered by view, row, column.

        Args:
            tokens: the denoised Gaussian tokens.
            scaffold: the canonical views.
            start: depths and opacities that they start with.
            start_color: logits of colours, mixed from those of `start`.
        """
        n, p = self.config.patches, self.config.patch_px
        features = self.upsample(tokens).unflatten(-1, (p, p, -1))  # (B, 4 T, p, p, C)
        raw = self.mlp(features).unflatten(1, (VIEWS, n, n))  # (B, 4, Nh, Nw, p, p, 14)
        raw = raw.transpose(3, 4).flatten(4, 5).flatten(2, 3)  # (B, 4, H, W, 14)
        # Half precision has 3 digits, and a pixel at radius 2.7 is 0.005 wide.
        with torch.autocast(raw.device.type, enabled=False):
            raw = raw.to(scaffold.slopes.dtype)
            return activate(raw, scaffold, start, start_color, self.config)


def activate(
    raw: Float[Tensor, "B 4 H W 14"],
    scaffold: Scaffold,
    start: Start,
    start_color: Float[Tensor, "_ 4 3 H W"],
    config: ModelConfig,
) -> Gaussians:
    """Turn raw outputs into Gaussians; zeros become the start.

    * depth ``z = radius + depth_reach tanh(.)`` along the pixel's ray, then up to ``offset_reach``
      along the image's axes;
    * scale in ``(scale_min_px, scale_max_px)`` times the footprint of a pixel at that depth: an
      unbounded exponential lets Gaussians die below a pixel or flood the picture;
    * rotation: the identity plus the output, normalised, in the axes of the view's camera;
    * opacity: a sigmoid of a logit bounded by ``opacity_logit_reach``;
    * colour: a sigmoid; where it starts at the portrait's, its logit is changed by at most
      `SEEN_COLOR_REACH`: enough to sharpen what rendering blurs, not for specks in a face.
    """
    offset, depth, scale, quat, opacity, color = raw.split(RAW, dim=-1)
    depth = scaffold.depth_of(depth[..., 0] + start.depth)  # (B, 4, H, W)
    on_ray, z = scaffold.on_rays(depth), depth[..., None]
    in_camera = on_ray + F.pad(config.offset_reach * torch.tanh(offset), (0, 1))
    pixel = z / scaffold.K[0, 1, 1]  # side of a pixel's footprint, world units
    span_px = config.scale_max_px - config.scale_min_px
    start_scale = _logit((config.scale_start_px - config.scale_min_px) / span_px)
    scales = pixel * (config.scale_min_px + span_px * torch.sigmoid(scale + start_scale))
    turns = F.normalize(quat + quat.new_tensor([1.0, 0.0, 0.0, 0.0]), dim=-1)
    reach = config.opacity_logit_reach
    bounded = reach * torch.tanh((opacity + start.opacity[..., None]) / reach)
    if start.seen is not None:
        held = SEEN_COLOR_REACH * torch.tanh(color / SEEN_COLOR_REACH)
        color = torch.where(start.seen[..., None], held, color)
    return Gaussians.from_rgb(
        means=scaffold.to_world(in_camera).flatten(1, 3),
        quats=multiply_quaternions(scaffold.quats[:, None, None], turns).flatten(1, 3),
        scales=scales.flatten(1, 3),
        opacities=torch.sigmoid(bounded).flatten(1),
        rgb=torch.sigmoid(color + start_color.movedim(2, -1)).flatten(1, 3),
    )


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
