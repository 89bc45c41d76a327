"""Tokenizers and the conditioning vector: everything that enters the DiT (Any3DAvatar, Fig. 3).

Letters: ``T`` patches of one picture, ``D`` token width, ``C`` input channels, ``p`` patch side.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.core.images import Views
from any3davatar.model.config import VIEWS, ModelConfig

RGB, RGBA, PLUCKER = 3, 4, 6  # channels
SINUSOIDS = 256
TIMESTEP_SCALE = 1000.0  # DiT's sinusoids were made for steps 0..1000; our t lies in [0, 1]


def to_signed(rgb: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Map colours from [0, 1] to [-1, 1]: a picture is then as large as the noise it replaces."""
    return 2 * rgb - 1


def network_input(views: Views, config: ModelConfig) -> Float[Tensor, "*b C H W"]:
    """Return portraits as the network takes them: RGB, and alpha where it knows silhouettes.

    Args:
        views: portraits, their colours over the background.
        config: the network's.
    """
    return torch.cat([views.rgb, views.alpha], dim=-3) if config.silhouette else views.rgb


class PatchTokenizer(nn.Module):
    """Cut pictures into p x p patches and map each to a token by an MLP (section 3.3)."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.patch_px = config.patch_px
        self.mlp = nn.Sequential(
            nn.Linear(channels * config.patch_px**2, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
        )

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
        """Return tokens in reading order: row by row from the top left."""
        p = self.patch_px
        patches = pictures.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, C, Nh, p, Nw, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5)  # (B, Nh, Nw, C, p, p)
        return self.mlp(patches.flatten(3).flatten(1, 2))  # (B, T, D)


class ImageTokenizer(nn.Module):
    """`E_img`: the portrait and its Plücker rays to context tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patches = PatchTokenizer(config.portrait_channels + PLUCKER, config)
        self.positions = learned_positions(config.view_tokens, config)

    def forward(
        self, portrait: Float[Tensor, "B C H W"], rays: Float[Tensor, "B 6 H W"]
    ) -> Float[Tensor, "B T D"]:
        """Return ``ctx = E_img([x; r])`` (section 3.1)."""
        tokens = self.patches(torch.cat([to_signed(portrait), rays], dim=1))
        return tokens if self.positions is None else tokens + self.positions


class GaussianTokenizer(nn.Module):
    """`E_GS`: the noisy state of the four canonical views to Gaussian tokens.

    The three places where noise may enter (D.4) differ in what a state is:

    * ``pixel+plucker``: pictures with noise in three channels and rays in six, (B, 4, 9, H, W);
    * ``pixel``: the pictures alone, (B, 4, 3, H, W);
    * ``latent``: tokens, (B, 4, D, Nh, Nw). Here `E_GS` encodes only clean pictures, and a state
      enters the DiT as it is, so with one-step training (t = 0) `E_GS` has nothing to learn from.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.in_latent = config.noise == "latent"
        self.aligned_image = config.aligned_image
        self.patches_per_side = config.patches
        channels = state_channels(config) if not self.in_latent else RGB
        channels += config.portrait_channels if config.aligned_image else 0
        channels += RGBA if config.hull_ways and not self.in_latent else 0
        self.sees_start = config.hull_ways > 0
        self.patches = PatchTokenizer(channels, config)
        self.positions = learned_positions(VIEWS * config.view_tokens, config)

    def forward(
        self,
        state: Float[Tensor, "B 4 S _ _"],
        portrait: Float[Tensor, "B C H W"],
        start: Float[Tensor, "_ 4 4 H W"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Return ``z_g = E_GS(g_t)``, view after view: front, left, right, back.

        Args:
            state: ``g_t``.
            portrait: shown beside it with ``aligned_image``.
            start: pictures of where Gaussians start, shown beside it with ``hull_ways``.
        """
        if self.in_latent:
            tokens = state.flatten(3).movedim(2, -1)  # (B, 4, T, D)
        else:
            beside = [aligned_pictures(portrait)] if self.aligned_image else []
            if self.sees_start:
                assert start is not None
                beside.append(to_signed(start))
            tokens = self._per_view(torch.cat([state, *beside], dim=2))
        tokens = tokens.flatten(1, 2)  # (B, 4 T, D)
        return tokens if self.positions is None else tokens + self.positions

    def encode_clean(self, images: Float[Tensor, "B 4 3 H W"]) -> Float[Tensor, "B 4 D Nh Nw"]:
        """Return the clean latent state of pictures in [-1, 1]: the goal of a ``latent`` flow."""
        n = self.patches_per_side
        return self._per_view(images).movedim(-1, 2).unflatten(-1, (n, n))

    def _per_view(self, pictures: Float[Tensor, "B 4 C H W"]) -> Float[Tensor, "B 4 T D"]:
        return self.patches(pictures.flatten(0, 1)).unflatten(0, (-1, VIEWS))


def state_channels(config: ModelConfig) -> int:
    """Return how many channels a view of the state has."""
    return {"pixel+plucker": RGB + PLUCKER, "pixel": RGB, "latent": config.width}[config.noise]


def aligned_pictures(portrait: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 4 C H W"]:
    """Return what the portrait says about each canonical view, in [-1, 1].

    The front view is the portrait where its camera is the front camera; the back view has the
    mirrored silhouette. The sides see neither, and 0 is mid-grey.
    """
    front = to_signed(portrait)
    unknown = torch.zeros_like(front)
    return torch.stack([front, unknown, unknown, front.flip(-1)], dim=1)


def learned_positions(tokens: int, config: ModelConfig) -> nn.Parameter | None:
    """Return a vector for each token; None in the paper, where rays say where a token is."""
    return nn.Parameter(torch.zeros(tokens, config.width)) if config.learned_positions else None


def sinusoids(t: Float[Tensor, "B"]) -> Float[Tensor, "B 256"]:
    """Return cosines, then sines, of t at geometric frequencies (Vaswani et al., 2017; DiT)."""
    half = SINUSOIDS // 2
    exponents = torch.arange(half, dtype=t.dtype, device=t.device) / half
    angles = TIMESTEP_SCALE * t[:, None] * torch.exp(-math.log(10_000.0) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Conditioning(nn.Module):
    """What AdaLN listens to: the timestep, and, if switched on, the pooled portrait."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.timestep = nn.Sequential(
            nn.Linear(SINUSOIDS, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.pooled = (
            nn.Sequential(
                nn.Linear(config.width, config.width),
                nn.SiLU(),
                nn.Linear(config.width, config.width),
            )
            if config.pooled_portrait
            else None
        )

    def forward(
        self, t: Float[Tensor, "B"], context: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B D"]:
        """Return the conditioning vector."""
        condition = self.timestep(sinusoids(t))
        return condition if self.pooled is None else condition + self.pooled(context.mean(dim=1))
