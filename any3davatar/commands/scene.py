"""Reading a head for a command: colour rule, frame, fit, and the background's name."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.commands.inputs import UsageError
from any3davatar.core import Gaussians, Similarity
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.io import ColorRule, read_gaussians

FIT_RADIUS = 0.9  # where --fit puts the outer Gaussians: the unit sphere with a margin
FIT_QUANTILE = 0.99  # the share of opacity-weighted Gaussians that --fit keeps inside
NAMED_BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}


@dataclass(frozen=True)
class HeadOptions:
    """How a file becomes a head in our frame.

    Attributes:
        frame: name of the world frame that the file is in, a key of `WORLD_FRAMES`.
        color: how colours are stored.
        fit: whether to centre the head and scale it into the unit sphere.
    """

    frame: str
    color: ColorRule
    fit: bool


def fit_to_unit_sphere(gaussians: Gaussians) -> Similarity:
    """Return the shift and scale that centre the visible Gaussians and put them inside.

    The centre is the middle of the box, and the radius the distance, that hold all but the outer
    1 % of the opacity: floaters far away must not shrink the head.
    """
    weights = gaussians.opacities.double()
    low, high = [], []
    for axis in gaussians.means.double().unbind(-1):
        order = axis.argsort()
        share = weights[order].cumsum(0) / weights.sum()
        tail = (1 - FIT_QUANTILE) / 2
        low.append(axis[order][int((share >= tail).nonzero()[0])])
        high.append(axis[order][int((share >= 1 - tail - 1e-9).nonzero()[0])])
    center = (torch.stack(low) + torch.stack(high)) / 2
    distance = (gaussians.means.double() - center).norm(dim=-1)
    order = distance.argsort()
    share = weights[order].cumsum(0) / weights.sum()
    radius = float(distance[order][int((share >= FIT_QUANTILE - 1e-9).nonzero()[0])])
    if not radius > 0:
        return Similarity(1.0, torch.eye(3), -center.float())
    scale = FIT_RADIUS / radius
    return Similarity(scale, torch.eye(3), (-scale * center).float())


def read_head(path: Path, options: HeadOptions) -> Gaussians:
    """Read a file of Gaussians into our frame."""
    if options.frame not in WORLD_FRAMES:
        raise UsageError(
            f"unknown frame {options.frame!r}; known: {', '.join(sorted(WORLD_FRAMES))}"
        )
    gaussians = read_gaussians(path, color=options.color)
    if options.frame != "any3davatar":
        gaussians = WORLD_FRAMES[options.frame].apply_to_gaussians(gaussians)
    if options.fit and gaussians.count:
        gaussians = fit_to_unit_sphere(gaussians).apply_to_gaussians(gaussians)
    return gaussians


def background_color(text: str) -> Float[Tensor, "3"]:
    """Return the colour that ``white``, ``black``, ``grey`` or ``#rrggbb`` names.

    Raises:
        UsageError: none of these.
    """
    if text in NAMED_BACKGROUNDS:
        return torch.tensor(NAMED_BACKGROUNDS[text])
    digits = text.removeprefix("#")
    if len(digits) == 6 and all(c in "0123456789abcdefABCDEF" for c in digits):
        return torch.tensor([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    raise UsageError(f"unknown background {text!r}; give {', '.join(NAMED_BACKGROUNDS)} or #rrggbb")
