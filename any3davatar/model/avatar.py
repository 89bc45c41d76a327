"""Any3DAvatar: one portrait and a noisy scaffold to a head of 3D Gaussians (Fig. 3, Algorithm 1).

Letters: ``B`` batch, ``T`` patches of one picture, ``D`` token width, ``H = W`` picture side; the
axis of length 4 is front, left, right, back.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.core.cameras import Cameras
from any3davatar.core.errors import InvalidInput
from any3davatar.core.gaussians import Gaussians
from any3davatar.model.appearance import ImageDecoder
from any3davatar.model.config import VIEWS, ModelConfig
from any3davatar.model.decoder import GaussianDecoder
from any3davatar.model.dit import DiT
from any3davatar.model.embed import (
    RGB,
    Conditioning,
    GaussianTokenizer,
    ImageTokenizer,
    state_channels,
    to_signed,
)
from any3davatar.model.initialization import (
    initialize_conditioning,
    initialize_dit,
    initialize_gaussian_decoder,
    initialize_image_decoder,
    initialize_palette,
    initialize_tokenizer,
)
from any3davatar.model.palette import Palette
from any3davatar.model.scaffold import Hull, Scaffold
from any3davatar.model.start import mean_or_seen, pictures_of, start_of


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says about a batch of heads.

    Attributes:
        gaussians: (B, N) Gaussians, N = 4 H W, ordered by canonical view, row and column.
        images: (B, 4, 3, H, W) pictures of the canonical views by `D_vae`, nominally in [0, 1];
            None where they were not asked for.
    """

    gaussians: Gaussians
    images: Float[Tensor, "B 4 3 H W"] | None


class Any3DAvatar(nn.Module):
    """``f_theta(g_t, t, x~)`` of Eqs. 1 and 4: it predicts the clean head from a noisy state.

    Weights are float32; for mixed precision run it under ``torch.autocast``: Gaussians stay
    float32 there.

    Args:
        config: the shape of the network, usually ``PRESETS[name]``.
        image_head: build `D_vae` too. Training needs it; inference is the same without, bit for
            bit, since it is built and started last and nothing reads it.
        hull: the mean head, if and only if ``config.hull_start``.
        seed: seed of the initial weights.
        recompute_activations: save memory in training by computing each block twice.

    Raises:
        InvalidInput: a hull that is missing, superfluous, or out of range.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        image_head: bool = False,
        hull: Hull | None = None,
        seed: int = 0,
        recompute_activations: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.scaffold = Scaffold(config, hull)
        self.image_tokenizer = ImageTokenizer(config)
        self.gaussian_tokenizer = GaussianTokenizer(config)
        self.conditioning = Conditioning(config)
        self.dit = DiT(config, recompute_activations=recompute_activations)
        self.gaussian_decoder = GaussianDecoder(config)
        self.palette = Palette(config) if config.palette_colors else None
        self.image_decoder = ImageDecoder(config) if image_head else None
        self._initialize(torch.Generator().manual_seed(seed))

    def _initialize(self, generator: torch.Generator) -> None:
        initialize_tokenizer(self.image_tokenizer, generator)
        initialize_tokenizer(self.gaussian_tokenizer, generator)
        initialize_conditioning(self.conditioning, generator)
        initialize_dit(self.dit, generator)
        initialize_gaussian_decoder(self.gaussian_decoder, generator)
        if self.palette is not None:
            initialize_palette(self.palette, self.config, self.scaffold, generator)
        if self.image_decoder is not None:
            initialize_image_decoder(self.image_decoder, generator)

    def forward(
        self,
        portrait: Float[Tensor, "B C H W"],
        portrait_rays: Float[Tensor, "B 6 H W"],
        state: Float[Tensor, "B 4 S _ _"],
        t: Float[Tensor, "B"],
        *,
        decode_images: bool = False,
    ) -> Prediction:
        """Predict the clean head.

        Args:
            portrait: ``x``, in [0, 1], over the background that the training set has; with
                ``silhouette`` its alpha is a fourth channel.
            portrait_rays: ``r``, Plücker rays of the portrait's camera (`Cameras.plucker`).
            state: ``g_t``, from `start_state` or `any3davatar.sampling.diffuse`.
            t: 0 for pure noise to 1 for the clean state.
            decode_images: run `D_vae` too (section 3.4).

        Raises:
            InvalidInput: a shape that does not fit the config, or no `D_vae` to decode with.
        """
        self._check(portrait, portrait_rays, state, t, decode_images)
        context = self.image_tokenizer(portrait, portrait_rays)  # (B, T, D)
        with torch.autocast(portrait.device.type, enabled=False):
            start = start_of(self.scaffold, portrait, self.config)
        shown = pictures_of(start) if self.config.hull_ways else None
        noisy = self.gaussian_tokenizer(state, portrait, shown)  # (B, 4 T, D)
        condition = self.conditioning(t, context)  # (B, D)
        tokens = self.dit(torch.cat([context, noisy], dim=1), condition)  # (B, 5 T, D)
        denoised = tokens[:, context.shape[1] :]  # (B, 4 T, D)

        color = (
            mean_or_seen(start)
            if self.palette is None
            else self.palette(start.color, portrait, context, denoised)
        )
        gaussians = self.gaussian_decoder(denoised, self.scaffold, start, color)
        images = self.image_decoder(denoised) if decode_images and self.image_decoder else None
        return Prediction(gaussians, images)

    @property
    def canonical(self) -> Cameras:
        """The canonical cameras front, left, right, back."""
        return self.scaffold.cameras

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one sample's state: (4, 9, H, W) in the paper's configuration."""
        config = self.config
        side = config.patches if config.noise == "latent" else config.size_px
        return (VIEWS, state_channels(config), side, side)

    def start_state(self, batch: int, generator: torch.Generator) -> Float[Tensor, "B 4 C _ _"]:
        """Return ``g_0``: unit Gaussian noise, beside the canonical rays where they belong.

        The noise is drawn on the generator's device, so a seed gives the same noise everywhere.
        """
        views, channels, *side = self.state_shape
        channels = RGB if self.config.noise == "pixel+plucker" else channels
        shape = (batch, views, channels, *side)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        noise = noise.to(self.scaffold.rays)
        return self.scaffold.with_rays(noise) if self.config.noise == "pixel+plucker" else noise

    def clean_state(self, images: Float[Tensor, "B 4 3 H W"]) -> Float[Tensor, "B 4 C _ _"]:
        """Return ``g_1`` of a head whose canonical views, in [0, 1], are `images`."""
        expected = (len(images), VIEWS, RGB, self.config.size_px, self.config.size_px)
        if tuple(images.shape) != expected:
            raise InvalidInput(f"images must have shape {expected}; got {tuple(images.shape)}")
        signed = to_signed(images)
        if self.config.noise == "latent":
            return self.gaussian_tokenizer.encode_clean(signed)
        return self.scaffold.with_rays(signed) if self.config.noise == "pixel+plucker" else signed

    def _check(
        self, portrait: Tensor, rays: Tensor, state: Tensor, t: Tensor, decode_images: bool
    ) -> None:
        batch, size = len(portrait), self.config.size_px
        expected = {
            "portrait": (portrait, (batch, self.config.portrait_channels, size, size)),
            "portrait_rays": (rays, (batch, 6, size, size)),
            "state": (state, (batch, *self.state_shape)),
            "t": (t, (batch,)),
        }
        for name, (tensor, shape) in expected.items():
            if tuple(tensor.shape) != shape:
                raise InvalidInput(
                    f"{name} must have shape {shape} for this network (size_px = {size}, noise = "
                    f"{self.config.noise!r}); got {tuple(tensor.shape)}"
                )
        if decode_images and self.image_decoder is None:
            raise InvalidInput("decode_images needs D_vae: build the network with image_head=True")
