"""Where the Gaussians of one portrait start: the mean head, told what the portrait shows of it.

A start is a bias that `D_gs` departs from. The scaffold knows the mean head's. A portrait from the
front says more: what colour is in front of a start, and whether there is anything at all; and from
its coarse pixels a linear regression guesses the sides and the back.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.model.config import VIEWS, ModelConfig
from any3davatar.model.embed import RGB
from any3davatar.model.scaffold import COLOR_MARGIN, Scaffold, opacity_argument

SOLID = 0.98  # alpha of a pixel that shows nothing of the background
OUTLINE_PX = 5
LEAST_COVERED = 0.05  # of a cell, below which its colour fades to black
FRONT = 0  # the view that a portrait is taken from


@dataclass(frozen=True, eq=False)
class Start:
    """Biases that raw outputs depart from.

    Attributes:
        depth: (_, 4, H, W) arguments of the tanh.
        opacity: (_, 4, H, W) arguments of the bounded logit.
        color: (_, M, 4, 3, H, W) logits of the M colours that a pixel may start at: the mean
            head's, and with ``color_skip`` the portrait's.
    """

    depth: Float[Tensor, "_ 4 H W"]
    opacity: Float[Tensor, "_ 4 H W"]
    color: Float[Tensor, "_ M 4 3 H W"]


def start_of(scaffold: Scaffold, portrait: Float[Tensor, "B C H W"], config: ModelConfig) -> Start:
    """Return the start of each portrait's Gaussians, in the scaffold's precision."""
    portrait = portrait.to(scaffold.slopes.dtype)
    if config.hull_ways:
        depth, opacity, color = _following(scaffold, portrait)
    else:
        depth = scaffold.start_depth[None]
        opacity = scaffold.mean_opacity[None]
        color = scaffold.start_color[None]
    color = color[:, None]  # (_, 1, 4, 3, H, W)
    if not (config.color_skip or config.silhouette):
        return Start(depth, scaffold.start_opacity[None], color)
    shown = solid_colors(portrait) if config.silhouette else portrait
    seen = in_front_of(scaffold, depth, shown)  # (B, 4, C, H, W)
    argument = scaffold.start_opacity[None]
    if config.silhouette:
        argument = opacity_argument(carved_opacity(opacity, seen[:, :, RGB]), config)
    if config.color_skip:
        shown = torch.logit(seen[:, :, :RGB], eps=COLOR_MARGIN)[:, None]
        color = torch.cat([color.expand_as(shown), shown], dim=1)
    return Start(depth, argument, color)


def features(portrait: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B F"]:
    """Return what `ModelConfig.hull_ways` read of a portrait.

    Its silhouette at a quarter of its size, and its colours, where there are any, at an eighth.
    """
    rgb, alpha = portrait[:, :RGB], portrait[:, RGB:]
    covered = F.avg_pool2d(alpha, 8)
    colors = F.avg_pool2d(rgb * alpha, 8) / covered.clamp_min(LEAST_COVERED)
    return torch.cat([F.avg_pool2d(alpha, 4).flatten(1), colors.flatten(1)], dim=1)


def _following(
    scaffold: Scaffold, portrait: Float[Tensor, "B 4 H W"]
) -> tuple[Float[Tensor, "B 4 H W"], Float[Tensor, "B 4 H W"], Float[Tensor, "B 4 3 H W"]]:
    """Return arguments of depth, opacities, and logits of colour of the head that follows."""
    amounts = features(portrait) @ scaffold.reading.mT + scaffold.reading_bias  # (B, R)
    change = torch.einsum("br,rvchw->bvchw", amounts, scaffold.ways)
    change = F.interpolate(
        change.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False
    ).unflatten(0, (-1, VIEWS))  # (B, 4, 5, H, W)
    opacity, depth, color = change.split([1, 1, RGB], dim=2)
    return (
        scaffold.depth_argument(scaffold.depth_of(scaffold.start_depth) + depth[:, :, 0]),
        (scaffold.mean_opacity + opacity[:, :, 0]).clamp(0, 1),
        torch.logit(torch.sigmoid(scaffold.start_color) + color, eps=COLOR_MARGIN),
    )


def solid_colors(portrait: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B 4 H W"]:
    """Return the portrait with the colours of its outline taken from the solid pixels beside it.

    Seen from elsewhere, the background that a pixel of the outline shows would be a pale seam.
    """
    rgb, alpha = portrait[:, :RGB], portrait[:, RGB:]
    solid = (alpha >= SOLID).to(rgb.dtype)
    near = F.avg_pool2d(torch.cat([rgb * solid, solid], dim=1), OUTLINE_PX, 1, OUTLINE_PX // 2)
    mixed, weight = near[:, :RGB], near[:, RGB:]
    known = (solid == 0) & (weight > 0)
    return torch.cat([torch.where(known, mixed / weight.clamp_min(1e-6), rgb), alpha], dim=1)


def in_front_of(
    scaffold: Scaffold, depth: Float[Tensor, "_ 4 H W"], portrait: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B 4 C H W"]:
    """Return what the portrait, taken by the front camera, shows where each start projects to.

    For the front view that is the pixel itself. A start beyond the portrait's edge takes the
    nearest pixel inside.

    Args:
        scaffold: the canonical views.
        depth: arguments of the tanh.
        portrait: any channels.
    """
    points = scaffold.to_world(scaffold.on_rays(scaffold.depth_of(depth)))  # (_, 4, H, W, 3)
    pixels, _ = scaffold.cameras[FRONT].project(points.flatten(1, 3))
    grid = (2 * pixels / scaffold.size_px - 1).unflatten(1, (-1, scaffold.size_px))
    seen = F.grid_sample(
        portrait,
        grid.expand(len(portrait), -1, -1, -1),
        padding_mode="border",
        align_corners=False,
    )
    return seen.unflatten(2, (VIEWS, scaffold.size_px)).movedim(1, 2)


def carved_opacity(
    mean: Float[Tensor, "_ 4 H W"], alpha: Float[Tensor, "B 4 H W"]
) -> Float[Tensor, "B 4 H W"]:
    """Return opacities of starts which the portrait shows with this alpha.

    In front the portrait's silhouette is the head's own; elsewhere it only takes away from what the
    mean head has, or the head that follows the portrait. That is squared: where only some heads
    have something, the start is fainter than their mean, or a fog stands beside everybody.
    """
    carved = mean.square() * alpha
    return torch.cat([alpha[:, :1], carved[:, 1:]], dim=1)


def pictures_of(start: Start) -> Float[Tensor, "B 4 4 H W"]:
    """Return what a start that follows a portrait looks like in each view: RGB and opacity."""
    return torch.cat([mean_or_seen(start), start.opacity[:, :, None]], dim=2).sigmoid()


def mean_or_seen(start: Start) -> Float[Tensor, "_ 4 3 H W"]:
    """Return the logits of the colours at which pixels start without a palette.

    With ``color_skip`` the front view starts at the portrait's pixels, in place of the mean head's
    colours: adding two logits would be a colour that neither of them means.
    """
    mean, shown = start.color[:, 0], start.color[:, -1]
    return torch.cat([shown[:, :1], mean[:, 1:]], dim=1)
