"""Colours of hair, brows and beard, and of single hairs."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads import palette
from any3davatar.anyhead.heads.noise import ValueNoise
from any3davatar.anyhead.heads.spec import HeadSpec

_DYED = ("pink", "blue", "teal")


def hair_color(spec: HeadSpec) -> NDArray:
    """Return the linear hair colour before greying."""
    return np.array(palette.HAIR[spec.hair.color])


def natural_hair_color(spec: HeadSpec) -> NDArray:
    """Return the colour of hair that is not dyed: brows and beard."""
    name = "dark_brown" if spec.hair.color in _DYED else spec.hair.color
    return np.array(palette.HAIR[name])


def brow_color(spec: HeadSpec) -> NDArray:
    """Return the linear brow colour: fair hair has darker brows of its own hue."""
    natural = natural_hair_color(spec)
    if spec.hair.color in ("blond", "platinum"):
        natural = np.array(palette.HAIR["light_brown"]) * np.array([1.15, 1.1, 1.0])
    softened = natural + 0.12 * palette.skin_color(spec.skin.tone)
    return softened * (1.25 - 0.7 * spec.eyes.brow_darkness)


def hair_shades(
    spec: HeadSpec, chart: NDArray, clump: NDArray, rng: np.random.Generator
) -> NDArray:
    """Return linear albedo (n, 3): the named colour varied by region, lock and hair, and grey."""
    count = len(chart)
    region = ValueNoise(spec.seed, "hair colour")(chart, 7)
    lock = rng.standard_normal(int(clump.max()) + 1)[clump]
    brightness = 1 + 0.45 * region + 0.16 * lock + 0.20 * rng.standard_normal(count)
    shades = hair_color(spec) * np.clip(brightness, 0.4, 1.9)[:, None]
    temples_first = np.interp(chart[:, 1], (7.2, 8.3), (1.3, 0.8))
    return greyed(shades, spec.hair.grey * temples_first, rng)


def greyed(shades: NDArray, share: NDArray, rng: np.random.Generator) -> NDArray:
    """Bleach hairs toward grey by ``share`` (n,) on average, every hair by its own amount."""
    own = np.clip(share * 1.15 + 0.22 * rng.standard_normal(len(shades)), 0, 1)
    own = np.where(share > 0.01, own, 0.0)[:, None]
    grey = palette.GREY_HAIR * rng.uniform(0.75, 1.15, (len(shades), 1))
    return shades * (1 - own) + grey * own
