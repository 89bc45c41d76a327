"""Square patches of a picture, turned and at any scale, and the way back to its pixels."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Patch:
    """A square in a picture, in pixels; it may reach beyond the edges.

    Attributes:
        x: of its centre, to the right.
        y: of its centre, downward.
        side: of the square.
        roll_rad: how far its own x axis is turned from the picture's, clockwise as seen.
    """

    x: float
    y: float
    side: float
    roll_rad: float = 0.0

    def to_picture(self, points: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
        """Return pixels of the picture for points of the patch, which spans [0, 1]."""
        c, s = math.cos(self.roll_rad), math.sin(self.roll_rad)
        turn = points.new_tensor([[c, -s], [s, c]])
        return (points - 0.5) * self.side @ turn.T + points.new_tensor([self.x, self.y])


def cut(
    rgb: Float[Tensor, "D H W"], patch: Patch, size_px: int, *, padding: str = "border"
) -> Float[Tensor, "D S S"]:
    """Return a patch resampled to ``size_px`` a side.

    Where the patch is larger than that, the picture is made smaller first (averaging, so that
    nothing aliases); beyond the edges stands the nearest pixel (``"border"``) or 0 (``"zeros"``).
    """
    window, patch = _cropped(rgb, patch)
    shrink = patch.side / size_px
    height, width = window.shape[1:]
    if shrink > 1:
        size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
        window = F.interpolate(window[None], size, mode="bilinear", antialias=True)[0]
    ticks = (torch.arange(size_px, dtype=window.dtype) + 0.5) / size_px
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    pixels = patch.to_picture(torch.stack([u, v], dim=-1))
    grid = 2 * pixels / pixels.new_tensor([width, height]) - 1
    return F.grid_sample(window[None], grid[None], padding_mode=padding, align_corners=False)[0]


def _cropped(rgb: Tensor, patch: Patch) -> tuple[Tensor, Patch]:
    """Return the part of a picture that a patch can see, and the patch in that part's pixels."""
    reach = patch.side * (abs(math.cos(patch.roll_rad)) + abs(math.sin(patch.roll_rad))) / 2
    reach += 2 * max(1.0, patch.side / 64)  # what averaging and interpolation look at beside it
    height, width = rgb.shape[1:]
    left, right = _span(patch.x, reach, width)
    top, bottom = _span(patch.y, reach, height)
    moved = replace(patch, x=patch.x - left, y=patch.y - top)
    return rgb[:, top:bottom, left:right], moved


def _span(middle: float, reach: float, length: int) -> tuple[int, int]:
    low = min(max(math.floor(middle - reach), 0), length - 1)
    return low, max(min(math.ceil(middle + reach), length), low + 1)
