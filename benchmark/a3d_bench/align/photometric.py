"""The last degree of an alignment: seven numbers, by the pictures themselves.

The landmark network sees a softer picture of the same face a degree or so turned, which costs
several dB. Where the prediction can be rendered again, a few Gauss-Newton steps on small pictures
of all sides, colour and coverage, close that gap. All views share the seven numbers, so nothing of
the head's shape or colour can be bettered by them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import Cameras, Gaussians, Similarity
from any3davatar.render import render

SIDES_PX = (32, 64)  # coarse first: hair is noise to its own pictures a pixel away
STEPS = 5  # on each
SLOPE_PX = 128
VIEWS_MAX = 12
# Central differences by less than a pixel of the small pictures: 0.6 degrees, 1 %, 0.01.
DIFFERENCES = (0.01,) * 3 + (0.01,) + (0.01,) * 3
TURN_MAX_DEG, SCALE_MAX, SHIFT_MAX = 6.0, 1.08, 0.08  # how far it may go from the landmarks' answer
DAMPING = 1e-4
ROBUST_LEVEL = 0.1  # differences above this are the head's own, not a misplacement


@dataclass(frozen=True)
class Refined:
    """A similarity that the pictures agree on.

    Attributes:
        similarity: prediction to truth.
        error_before: robust mean difference of the small pictures that it started from.
        error_after: the same, under `similarity`; never larger.
        turned_deg: rotation from the start.
    """

    similarity: Similarity
    error_before: float
    error_after: float
    turned_deg: float


def better_start(
    starts: Sequence[Similarity],
    gaussians: Gaussians,
    truth: Float[Tensor, "V 4 H W"],
    cameras: Cameras,
    background: Float[Tensor, "3"],
) -> int:
    """Return which similarity gives the pictures nearest to the truth; the first of equals.

    Args:
        starts: from prediction to truth.
        gaussians: the prediction, in its own frame.
        truth: (V, 4, H, W) colour over the background, and alpha.
        cameras: (V,) of the truth.
        background: of the protocol.
    """
    chosen = spread(len(truth), VIEWS_MAX)
    seen = _Seen(gaussians, cameras[chosen], background, truth[chosen])
    errors = [_error(seen.apart(start, SIDES_PX[-1])) for start in starts]
    return errors.index(min(errors))


def refine(
    start: Similarity,
    gaussians: Gaussians,
    truth: Float[Tensor, "V 4 H W"],
    cameras: Cameras,
    background: Float[Tensor, "3"],
) -> Refined:
    """Improve a similarity from prediction to truth by Gauss-Newton on small pictures.

    Args:
        start: from landmarks.
        gaussians: the prediction, in its own frame.
        truth: (V, 4, H, W) colour over the background, and alpha.
        cameras: (V,) of the truth.
        background: of the protocol.
    """
    chosen = spread(len(truth), VIEWS_MAX)
    seen = _Seen(gaussians, cameras[chosen], background, truth[chosen])
    best, before, after = start, 0.0, 0.0
    for side in SIDES_PX:
        slopes = seen.slopes(best, side)
        apart = seen.apart(best, side)
        before, after = _error(seen.apart(start, side)), _error(apart)
        share = 1.0
        for _ in range(STEPS):
            candidate = _stepped(slopes, apart, share).after(best)
            there = seen.apart(candidate, side)
            if _near(candidate, start) and (error := _error(there)) < after:
                best, after, apart = candidate, error, there
            else:
                share /= 4
    return Refined(best, before, after, turn_deg(best.rotation @ start.rotation.T))


@dataclass(frozen=True, eq=False)
class _Seen:
    """A prediction, and the pictures that it should give.

    Differences are of pictures rendered at full size and then made small: a small render is
    another picture (the low-pass filter of splatting is a fraction of a pixel, and makes heads
    thicker where pixels are larger). Slopes may be a little off, but not flicker as thin hair does
    in small renders: they are of renders of middle size, made small.
    """

    gaussians: Gaussians
    cameras: Cameras
    background: Tensor
    truth: Tensor

    def _pictures(self, similarity: Similarity, cameras: Cameras) -> Float[Tensor, "V 4 H W"]:
        views = render(similarity.apply_to_gaussians(self.gaussians), cameras, self.background)
        return torch.cat([views.rgb.clamp(0, 1), views.alpha], dim=1)

    def apart(self, similarity: Similarity, side: int) -> Float[Tensor, "P"]:
        """Return truth minus prediction, made small."""
        full = self.truth - self._pictures(similarity, self.cameras)
        return F.interpolate(full, (side, side), mode="area").reshape(-1)

    def slopes(self, similarity: Similarity, side: int) -> Float[Tensor, "7 P"]:
        """Return how small pictures change with rotation, log scale and translation."""
        middle = min(SLOPE_PX, self.cameras.width)
        cameras = self.cameras.resized(middle, middle)
        rows: list[Tensor] = []
        for which, size in enumerate(DIFFERENCES):
            little = torch.zeros(7)
            little[which] = size
            ahead = self._pictures(small_similarity(little).after(similarity), cameras)
            behind = self._pictures(small_similarity(-little).after(similarity), cameras)
            change = F.interpolate(ahead - behind, (side, side), mode="area") / (2 * size)
            rows.append(change.reshape(-1))
        return torch.stack(rows)


def _error(apart: Float[Tensor, "*b"]) -> float:
    """Return the mean of Geman and McClure's robust square."""
    ratio = (apart / ROBUST_LEVEL).square()
    return float((ratio / (1 + ratio)).mean())


def _stepped(slopes: Float[Tensor, "7 P"], apart: Float[Tensor, "P"], share: float) -> Similarity:
    """Return the change that a share of a Gauss-Newton step with robust weights makes."""
    weights = 1 / (1 + (apart / ROBUST_LEVEL).square()).square()
    normal = ((slopes * weights) @ slopes.T).double()
    normal += DAMPING * torch.diag(normal.diagonal())
    step = torch.linalg.solve(normal, ((slopes * weights) @ apart).double())
    return small_similarity(share * step.float())


def _near(candidate: Similarity, start: Similarity) -> bool:
    grown = candidate.scale / start.scale
    return (
        turn_deg(candidate.rotation @ start.rotation.T) <= TURN_MAX_DEG
        and 1 / SCALE_MAX <= grown <= SCALE_MAX
        and float((candidate.translation - start.translation).norm()) <= SHIFT_MAX
    )


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` indices, evenly over `count`."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def turn_deg(rotation: Tensor) -> float:
    """Return the angle of a rotation."""
    cosine = (float(torch.trace(rotation)) - 1) / 2
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def small_similarity(values: Float[Tensor, "7"]) -> Similarity:
    """Return the similarity of a rotation vector, a logarithm of scale and a translation."""
    x, y, z = values[:3].tolist()
    generator = values.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return Similarity(float(values[3].exp()), torch.matrix_exp(generator), values[4:])
