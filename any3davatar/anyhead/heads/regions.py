"""Where hair, beard and brows grow, drawn on the template's body (the chart).

Chart landmarks (decimetre): eyes at (+-0.31, 7.30, 1.3), mouth near y 6.62, chin tip near 6.2,
ears around z 0.2, crown at 8.48.
"""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.template import Template

# Hairline height against the angle from the face direction, degrees: over the forehead, down in
# front of the ear (sideburn), around it, and across the nape.
_HAIRLINE_DEG = (0, 20, 38, 50, 60, 68, 78, 86, 100, 112, 125, 140, 180)
_HAIRLINE_Y = (7.98, 8.01, 7.95, 7.78, 7.58, 7.42, 7.36, 7.45, 7.42, 7.18, 6.92, 6.74, 6.68)
_RECEDE_Y = (0.16, 0.30, 0.32, 0.16, 0.04, 0, 0, 0, 0, 0, 0, 0, 0)


def bump(chart: NDArray, center: tuple[float, ...], radius: tuple[float, ...]) -> NDArray:
    """Gaussian blob on the chart."""
    return np.exp(-(((chart - np.array(center)) / np.array(radius)) ** 2).sum(-1))


def mirrored(chart: NDArray, center: tuple[float, ...], radius: tuple[float, ...]) -> NDArray:
    """Gaussian blobs on both sides."""
    other = (-center[0], *center[1:])
    return bump(chart, center, radius) + bump(chart, other, radius)


def above_hairline(chart: NDArray, receding: float = 0.0) -> NDArray:
    """Height above the hairline; positive on the scalp."""
    angle = np.degrees(np.arctan2(np.abs(chart[..., 0]), chart[..., 2] - 0.2))
    line = np.interp(angle, _HAIRLINE_DEG, _HAIRLINE_Y)
    line = line + receding * np.interp(angle, _HAIRLINE_DEG, _RECEDE_Y)
    return chart[..., 1] - line


def scalp_mask(template: Template, receding: float) -> NDArray:
    """1 on the scalp, soft over 0.06 dm at the hairline, 0 on ears and face."""
    chart, masks = template.body, template.masks
    grown = np.clip(above_hairline(chart, receding) / 0.06, 0, 1)
    return grown * (masks["ears"] < 0.3) * (chart[:, 1] > 6.4)


def beard_mask(template: Template) -> NDArray:
    """1 where a full beard grows, without the lips and the dent below them."""
    chart, masks = template.body, template.masks
    side = np.abs(chart[:, 0])
    top = np.interp(side, (0, 0.25, 0.4, 0.6, 0.8), (6.90, 6.84, 6.62, 6.74, 7.18))
    bottom = np.interp(chart[:, 2], (0.2, 1.2), (6.25, 5.98))
    mask = np.clip((top - chart[:, 1]) / 0.12, 0, 1) * np.clip((chart[:, 1] - bottom) / 0.2, 0, 1)
    mask = mask * (masks["lips"] < 0.2) * (masks["in_mouth"] < 0.5)
    mask = mask * np.clip((chart[:, 2] - 0.36) / 0.12, 0, 1) * (masks["ears"] < 0.3)
    return mask * (1 - 0.8 * bump(chart, (0, 6.5, 1.5), (0.12, 0.03, 0.5)))


def moustache_mask(template: Template) -> NDArray:
    """Upper lip between the mouth's corners."""
    chart = template.body
    return beard_mask(template) * (chart[:, 1] > 6.70) * (np.abs(chart[:, 0]) < 0.34)


def goatee_mask(template: Template) -> NDArray:
    """Moustache, mouth corners and chin."""
    return beard_mask(template) * (np.abs(template.body[:, 0]) < 0.27)


_BROW_X = (0.08, 0.16, 0.26, 0.38, 0.50, 0.60)


def brow_line(side: NDArray, arch: float) -> NDArray:
    """Height of the brow's centre line at distance ``side`` from the face's middle."""
    flat = (7.486, 7.499, 7.507, 7.508, 7.490, 7.450)
    arched = (7.482, 7.506, 7.532, 7.550, 7.526, 7.460)
    return np.interp(side, _BROW_X, np.add(np.multiply(flat, 1 - arch), np.multiply(arched, arch)))


def brow_mask(template: Template, thickness: float, arch: float) -> NDArray:
    """1 along both brows, fading over their width."""
    chart = template.body
    side = np.abs(chart[:, 0])
    width = np.interp(side, _BROW_X, (0.020, 0.030, 0.031, 0.026, 0.018, 0.007))
    width = width * (0.35 + 1.0 * thickness)
    mask = np.clip(1.5 - np.abs(chart[:, 1] - brow_line(side, arch)) / width, 0, 1)
    on_brow = (side > 0.095) & (side < 0.60) & (chart[:, 2] > 1.0)
    return mask * on_brow * (template.masks["eye_cavity"] < 0.5)
