"""`D_vae`: the same tokens to four pictures, for supervision while training (section 3.4).

A convolutional decoder in the manner of latent diffusion (Rombach et al., 2022): residual blocks,
and as many doublings as the patch has factors of two (three for p = 8). It has no attention in the
middle: its input has just left a transformer in which every token saw every other.
"""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.model.config import VIEWS, ModelConfig


def normalization(channels: int) -> nn.GroupNorm:
    """Return a group norm of at most 32 groups, of four channels at least."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip; 1 x 1 on the skip where the channels change."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            normalization(channels_in),
            nn.SiLU(),
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            normalization(channels_out),
            nn.SiLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B _ H W"]:
        """Return features of the same size."""
        return self.skip(features) + self.layers(features)


class Upsample(nn.Module):
    """Twice the size: nearest neighbour, then a convolution, which leaves no checkerboard."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C _ _"]:
        """Return features of twice the height and width."""
        return self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))


class ImageDecoder(nn.Module):
    """Denoised Gaussian tokens to the four canonical pictures."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patches = config.patches
        doublings = config.patch_px.bit_length() - 1
        channels = [config.image_channels * min(2**level, 4) for level in range(doublings, -1, -1)]
        self.conv_in = nn.Conv2d(config.width, channels[0], 3, padding=1)
        self.middle = nn.Sequential(*(ResidualBlock(channels[0], channels[0]) for _ in range(2)))
        self.stages = nn.ModuleList(
            nn.Sequential(
                Upsample(before), ResidualBlock(before, after), ResidualBlock(after, after)
            )
            for before, after in pairwise(channels)
        )
        self.norm_out = normalization(channels[-1])
        self.conv_out = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B 4 3 H W"]:
        """Return pictures, nominally in [0, 1] and not clipped: a loss must see what overshoots."""
        n = self.patches
        grid = tokens.unflatten(1, (VIEWS, n, n)).flatten(0, 1).movedim(-1, 1)  # (4 B, D, Nh, Nw)
        features = self.middle(self.conv_in(grid))
        for stage in self.stages:
            features = stage(features)  # twice the size
        signed = self.conv_out(F.silu(self.norm_out(features)))  # (4 B, 3, H, W)
        return ((1 + signed) / 2).unflatten(0, (-1, VIEWS))
