"""Colours, in linear light unless a name says sRGB."""

import numpy as np
from numpy.typing import NDArray


def to_linear(srgb: NDArray | tuple[float, ...]) -> NDArray:
    """Decode sRGB in [0, 1] (IEC 61966-2-1)."""
    color = np.asarray(srgb, np.float64)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


# Skin from very light to very dark, sRGB 8 bit; chosen along the individual typology angle scale.
_SKIN_SRGB8 = (
    (248, 220, 204), (240, 204, 182), (230, 188, 162), (216, 168, 138), (196, 145, 113),
    (168, 117, 86), (136, 90, 64), (104, 68, 49), (76, 50, 38),
)  # fmt: skip
_SKIN = to_linear(np.array(_SKIN_SRGB8) / 255)

HAIR = {
    "black": (0.010, 0.008, 0.007),
    "dark_brown": (0.032, 0.018, 0.011),
    "brown": (0.075, 0.038, 0.020),
    "light_brown": (0.15, 0.085, 0.042),
    "dark_blond": (0.24, 0.155, 0.075),
    "blond": (0.42, 0.29, 0.14),
    "platinum": (0.62, 0.53, 0.40),
    "auburn": (0.12, 0.032, 0.012),
    "red": (0.26, 0.070, 0.018),
    "grey": (0.30, 0.29, 0.28),
    "white": (0.62, 0.61, 0.59),
    "pink": (0.60, 0.14, 0.27),
    "blue": (0.05, 0.12, 0.40),
    "teal": (0.03, 0.24, 0.24),
}
IRIS = {
    "dark": (0.030, 0.014, 0.008),
    "brown": (0.10, 0.042, 0.016),
    "amber": (0.24, 0.11, 0.03),
    "hazel": (0.18, 0.12, 0.035),
    "green": (0.13, 0.20, 0.09),
    "blue": (0.10, 0.20, 0.36),
    "light_blue": (0.22, 0.36, 0.48),
    "grey": (0.24, 0.29, 0.32),
}
GUMS = np.array((0.42, 0.13, 0.12))
TEETH = np.array((0.80, 0.74, 0.64))
TONGUE = np.array((0.42, 0.13, 0.12))
MOUTH = np.array((0.16, 0.03, 0.025))
GREY_HAIR = np.array((0.42, 0.41, 0.40))


def skin_color(tone: float) -> NDArray:
    """Return the base albedo of a skin tone in [0, 1]."""
    place = tone * (len(_SKIN) - 1)
    return np.array([np.interp(place, np.arange(len(_SKIN)), _SKIN[:, k]) for k in range(3)])


def luminance(color: NDArray) -> NDArray:
    """Return the relative luminance (*b,) of linear colours (*b, 3)."""
    return np.asarray(np.asarray(color) @ np.array((0.2126, 0.7152, 0.0722)))
