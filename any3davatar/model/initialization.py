"""How weights start: a chapter of its own, since the start decides whether a network learns.

Before the first step the network returns its scaffold, faintly perturbed by its tokens.
"""

import torch
from torch import nn

from any3davatar.model.appearance import ImageDecoder
from any3davatar.model.config import ModelConfig
from any3davatar.model.decoder import GaussianDecoder
from any3davatar.model.dit import DiT
from any3davatar.model.embed import Conditioning, GaussianTokenizer, ImageTokenizer
from any3davatar.model.palette import OWN_SHARE, OWN_SHARE_FOLLOWING, OWN_SHARE_SEEN, Palette
from any3davatar.model.scaffold import Scaffold
from any3davatar.model.start import FRONT, seen_from_front

OUTPUT_STD = 0.01
EMBEDDING_STD = 0.02
PLACES_STD = 0.2


def initialize_tokenizer(
    tokenizer: ImageTokenizer | GaussianTokenizer, generator: torch.Generator
) -> None:
    """Start a tokenizer; learned positions are small beside what the patches say."""
    _initialize_layers(tokenizer, generator)
    if tokenizer.positions is not None:
        nn.init.normal_(tokenizer.positions, std=EMBEDDING_STD, generator=generator)


def initialize_conditioning(conditioning: Conditioning, generator: torch.Generator) -> None:
    """Start the timestep's MLP as DiT does: small, since its sinusoids are large together."""
    _initialize_layers(conditioning, generator)
    for layer in conditioning.timestep:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=EMBEDDING_STD, generator=generator)


def initialize_dit(dit: DiT, generator: torch.Generator) -> None:
    """Start the denoiser as the identity on normalised tokens (AdaLN-zero).

    All modulations start at exactly zero: with its gates shut a block adds nothing, so gradients
    reach `E_GS` unchanged however deep the network, and each block opens as far as it helps. On
    the first step the gates alone learn in a block. What lies behind them, the condition, and
    `E_img`, which Gaussian tokens hear through attention only, get gradients from the second on.
    """
    _initialize_layers(dit, generator)
    for block in dit.blocks:
        _zero(block.modulation)  # pyright: ignore[reportArgumentType] a ModuleList forgets its type
    _zero(dit.modulation)


def initialize_gaussian_decoder(decoder: GaussianDecoder, generator: torch.Generator) -> None:
    """Start the Gaussians at the scaffold within a hair.

    The last layer is small and not zero: zero would withhold gradients from everything before it
    on the first step, and neighbouring pixels would start with equal Gaussians.
    """
    _initialize_layers(decoder, generator)
    _small_output(decoder.last, generator)


def initialize_palette(
    palette: Palette, config: ModelConfig, scaffold: Scaffold, generator: torch.Generator
) -> None:
    """Start each pixel near its own colour, and the palette's colours apart from each other.

    With ``color_skip`` all that the portrait sees starts at its pixels, whichever view it belongs
    to: a side's own colours are a guess, and from the front a second pair of brows.
    """
    nn.init.normal_(palette.contents.weight, std=EMBEDDING_STD, generator=generator)
    nn.init.zeros_(palette.contents.bias)
    nn.init.normal_(palette.places, std=PLACES_STD, generator=generator)
    nn.init.normal_(palette.mixture, std=EMBEDDING_STD, generator=generator)
    _zero(palette.remix)
    with torch.no_grad():
        own = OWN_SHARE_FOLLOWING if config.hull_ways else OWN_SHARE
        palette.mixture[..., 0] += own
        if config.color_skip:
            palette.mixture[seen_from_front(scaffold)] += (
                torch.eye(palette.mixture.shape[-1])[1] * OWN_SHARE_SEEN
            )
            palette.mixture[FRONT, ..., 0] -= own


def initialize_image_decoder(decoder: ImageDecoder, generator: torch.Generator) -> None:
    """Start the four pictures at mid-grey, within a hair, for the same reasons."""
    _initialize_layers(decoder, generator)
    _small_output(decoder.conv_out, generator)


def _initialize_layers(module: nn.Module, generator: torch.Generator) -> None:
    """Keep the variance of signals and gradients (Glorot and Bengio, 2010); biases start at 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _small_output(layer: nn.Module, generator: torch.Generator) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    nn.init.normal_(layer.weight, std=OUTPUT_STD, generator=generator)
