"""Where the Gaussians of one portrait start: the mean head, told what the portrait shows of it.

A start is a bias that `D_gs` departs from. The scaffold knows the mean head's. A portrait from the
front says more: what colour is in front of a start, and whether there is anything at all; and from
its coarse pixels a regression guesses the sides and the back.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from any3davatar.model.config import VIEWS, ModelConfig
from any3davatar.model.embed import RGB
from any3davatar.model.scaffold import COLOR_MARGIN, Scaffold, depth_argument, opacity_argument

SOLID = 0.98  # alpha of a pixel that shows nothing of the background
OUTLINE_PX = 5
COARSE_PX = 8  # side of the cells that `hull_ways` read
LEAST_COVERED = 0.05  # of a cell, below which its colour fades to black
LUMINANCE = (0.299, 0.587, 0.114)
DIAGONAL = math.sqrt(0.5)
DIRECTIONS = ((1.0, 0.0), (DIAGONAL, DIAGONAL), (0.0, 1.0), (-DIAGONAL, DIAGONAL))  # (x, y)
MIRRORED_DIRECTIONS = [0, 3, 2, 1]
TEXTURE_HEIGHT = 10.0  # its variance over heads is then half of that of silhouettes and colours
WAVE_HEIGHT = 10.0  # of all waves together, beside pixels in [0, 1]: the share that may bend
SEEN_DEPTH = 0.08  # world units: 8 mm
FRONT = 0  # the view that a portrait is taken from


@dataclass(frozen=True, eq=False)
class Start:
    """Biases that raw outputs depart from.

    Attributes:
        depth: (_, 4, H, W) arguments of the tanh.
        opacity: (_, 4, H, W) arguments of the bounded logit.
        color: (_, M, 4, 3, H, W) logits of the M colours that a pixel may start at: the mean
            head's, and with ``color_skip`` the portrait's.
        seen: (4, H, W) which of them ``color_skip`` starts at what the portrait shows there: the
            front view's, and with a palette all that the front camera sees. None without.
    """

    depth: Float[Tensor, "_ 4 H W"]
    opacity: Float[Tensor, "_ 4 H W"]
    color: Float[Tensor, "_ M 4 3 H W"]
    seen: Bool[Tensor, "4 H W"] | None


def start_of(scaffold: Scaffold, portrait: Float[Tensor, "B C H W"], config: ModelConfig) -> Start:
    """Return the start of each portrait's Gaussians, in the scaffold's precision.

    It is the mean head, or the one that follows the portrait, with the portrait held before it: of
    what that shows there, ``color_skip`` takes the colours and ``silhouette`` the alpha.
    """
    portrait = portrait.to(scaffold.slopes.dtype)
    if config.hull_ways:
        depth, opacity, color = _following(scaffold, portrait, config)
    else:
        depth, opacity = scaffold.start_depth[None], scaffold.mean_opacity[None]
        color = scaffold.start_color[None]
    argument, colors = scaffold.start_opacity[None], color[:, None]  # (_, 1, 4, 3, H, W)
    in_sight = None
    if config.color_skip or config.silhouette:
        shown = solid_colors(portrait) if config.silhouette else portrait
        points = scaffold.to_world(scaffold.on_rays(scaffold.depth_of(depth)))
        seen = in_front_of(scaffold, points, shown)  # (B, 4, C, H, W)
        if config.silhouette:
            argument = opacity_argument(carved_opacity(opacity, seen[:, :, RGB]), config)
        if config.color_skip:
            logits = torch.logit(seen[:, :, :RGB], eps=COLOR_MARGIN)[:, None]
            colors = torch.cat([colors.expand_as(logits), logits], dim=1)
            in_sight = seen_from_front(scaffold)
            if not config.palette_colors:  # sides then start at the mean head's colours
                in_sight[1:] = False
    return Start(depth, argument, colors, in_sight)


def features(portrait: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B F"]:
    """Return what `ModelConfig.hull_ways` read of a portrait.

    Its silhouette at a quarter of its size; at an eighth its colours, where there are any, and how
    much its luminance changes along each of `DIRECTIONS`: curls are not straight hair.
    """
    rgb, alpha = portrait[:, :RGB], portrait[:, RGB:]
    covered = F.avg_pool2d(alpha, COARSE_PX)
    colors = F.avg_pool2d(rgb * alpha, COARSE_PX) / covered.clamp_min(LEAST_COVERED)
    parts = F.avg_pool2d(alpha, COARSE_PX // 2), colors, TEXTURE_HEIGHT * texture(rgb)
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def texture(rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 4 h w"]:
    """Return the mean size of the derivatives of luminance along `DIRECTIONS`, per pixel."""
    light = (rgb * rgb.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1, keepdim=True)
    padded = F.pad(light, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    along = torch.cat([x * across + y * down for x, y in DIRECTIONS], dim=1)
    return F.avg_pool2d(along.abs(), COARSE_PX)


def mirrored(read: Float[Tensor, "B F"], size_px: int) -> Float[Tensor, "B F"]:
    """Return what `features` read of the mirrored portraits."""
    coarse = size_px // COARSE_PX
    sizes = (1, 2 * coarse), (RGB, coarse), (len(DIRECTIONS), coarse)
    parts = read.split([channels * side**2 for channels, side in sizes], dim=1)
    alpha, colors, along = (
        part.unflatten(1, (channels, side, side)).flip(-1)
        for part, (channels, side) in zip(parts, sizes, strict=True)
    )
    flipped = alpha, colors, along[:, MIRRORED_DIRECTIONS]
    return torch.cat([part.flatten(1) for part in flipped], dim=1)


def waves(
    read: Float[Tensor, "B F"], frequencies: Float[Tensor, "M F"], phases: Float[Tensor, "M"]
) -> Float[Tensor, "B M"]:
    """Return random Fourier features (Rahimi and Recht, 2007) of what `features` read.

    A linear regression over them is a kernel regression, nearly: it can say something else of
    portraits that are far from each other.
    """
    height = WAVE_HEIGHT * math.sqrt(2 / len(phases))
    return height * torch.cos(read @ frequencies.mT + phases)


def _following(
    scaffold: Scaffold, portrait: Float[Tensor, "B 4 H W"], config: ModelConfig
) -> tuple[Float[Tensor, "B 4 H W"], Float[Tensor, "B 4 H W"], Float[Tensor, "B 4 3 H W"]]:
    """Return arguments of depth, opacities, and logits of colour of the head that follows."""
    read = features(portrait)
    if config.hull_waves:
        read = torch.cat([read, waves(read, scaffold.frequencies, scaffold.phases)], dim=1)
    amounts = read @ scaffold.reading.mT + scaffold.reading_bias  # (B, R)
    change = torch.einsum("br,rvchw->bvchw", amounts, scaffold.ways)
    change = F.interpolate(
        change.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False
    ).unflatten(0, (-1, VIEWS))  # (B, 4, 5, H, W)
    opacity, depth, color = change.split([1, 1, RGB], dim=2)
    return (
        depth_argument(scaffold.depth_of(scaffold.start_depth) + depth[:, :, 0], config),
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
    scaffold: Scaffold, points: Float[Tensor, "_ 4 H W 3"], portrait: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B 4 C H W"]:
    """Return what the portrait, taken by the front camera, shows where points project to.

    For points on the front view's rays that is the pixel itself. A point beyond the portrait's
    edge takes the nearest pixel inside.

    Args:
        scaffold: the canonical views.
        points: in the world.
        portrait: any channels.
    """
    pixels, _ = scaffold.cameras[FRONT].project(points.flatten(1, 3))
    grid = (2 * pixels / scaffold.size_px - 1).unflatten(1, (-1, scaffold.size_px))
    seen = F.grid_sample(
        portrait,
        grid.expand(len(portrait), -1, -1, -1),
        padding_mode="border",
        align_corners=False,
    )
    return seen.unflatten(2, (VIEWS, scaffold.size_px)).movedim(1, 2)


def seen_from_front(scaffold: Scaffold) -> Bool[Tensor, "4 H W"]:
    """Return which starts of the mean head the front camera sees: no start stands before them."""
    depth = scaffold.depth_of(scaffold.start_depth)  # (4, H, W)
    points = scaffold.to_world(scaffold.on_rays(depth)[None])[0]  # (4, H, W, 3)
    _, z = scaffold.cameras[FRONT].project(points.flatten(0, 2))
    front = in_front_of(scaffold, points[None], depth[FRONT][None, None])[0, :, 0]
    return z.unflatten(0, depth.shape) < front + SEEN_DEPTH


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
