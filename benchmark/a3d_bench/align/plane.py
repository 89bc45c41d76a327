"""Similarities of the picture plane: fitted to points, composed, and applied to pictures."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FIT_ITERATIONS = 10


@dataclass(frozen=True)
class PlaneSimilarity:
    """The map ``p -> scale * R(angle_rad) @ p + (shift_x, shift_y)`` of pixels, y downward.

    Attributes:
        scale: positive.
        angle_rad: clockwise as seen.
        shift_x: pixels to the right.
        shift_y: pixels downward.
    """

    scale: float
    angle_rad: float
    shift_x: float
    shift_y: float

    @property
    def matrix(self) -> Float[Tensor, "2 3"]:
        """Linear part and shift."""
        c, s = self.scale * math.cos(self.angle_rad), self.scale * math.sin(self.angle_rad)
        return torch.tensor([[c, -s, self.shift_x], [s, c, self.shift_y]], dtype=torch.float64)

    def apply(self, points: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
        """Move points."""
        matrix = self.matrix.to(points)
        return points @ matrix[:, :2].T + matrix[:, 2]

    @staticmethod
    def about(
        scale: float, angle_rad: float, source: tuple[float, float], target: tuple[float, float]
    ) -> "PlaneSimilarity":
        """Return the similarity that takes one point to another."""
        c, s = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
        return PlaneSimilarity(
            scale,
            angle_rad,
            target[0] - (c * source[0] - s * source[1]),
            target[1] - (s * source[0] + c * source[1]),
        )

    def shift_at(self, x: float, y: float) -> tuple[float, float]:
        """Return by how much a point moves."""
        moved = self.apply(torch.tensor([x, y], dtype=torch.float64)).tolist()
        return moved[0] - x, moved[1] - y


def fit_plane_similarity(
    source: Float[Tensor, "N 2"], target: Float[Tensor, "N 2"]
) -> tuple[PlaneSimilarity, float]:
    """Return the similarity from source to target, and the median distance left, in pixels.

    Least squares with Cauchy weights, repeated: a few points that jumped do not pull.
    """
    a = torch.view_as_complex(source.double().contiguous())
    b = torch.view_as_complex(target.double().contiguous())
    weights = torch.ones(len(a), dtype=torch.float64)
    factor, a_mean, b_mean = torch.tensor(1 + 0j), a.mean(), b.mean()
    residual = torch.zeros_like(weights)
    for _ in range(FIT_ITERATIONS):
        share = weights / weights.sum()
        a_mean, b_mean = (share * a).sum(), (share * b).sum()
        spread = (weights * (a - a_mean).abs().square()).sum()
        factor = (weights * (a - a_mean).conj() * (b - b_mean)).sum() / spread
        residual = (factor * (a - a_mean) + b_mean - b).abs()
        weights = cauchy_weights(residual)
    shift = b_mean - factor * a_mean
    fitted = PlaneSimilarity(
        float(factor.abs()), float(factor.angle()), float(shift.real), float(shift.imag)
    )
    return fitted, float(residual.median())


def cauchy_weights(residuals: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return weights that fall as residuals exceed their own typical size."""
    typical = residuals.median().clamp_min(1e-9)
    return 1 / (1 + (residuals / (2 * typical)).square())


def warped(
    rgb: Float[Tensor, "3 H W"], similarity: PlaneSimilarity, background: Float[Tensor, "3"]
) -> Float[Tensor, "3 H W"]:
    """Return a picture moved by a similarity, over the background where nothing comes to lie.

    Bicubic; where the picture shrinks, several samples a pixel are averaged.
    """
    height, width = rgb.shape[1:]
    samples = max(1, math.ceil(1 / similarity.scale - 0.1))
    samples = min(samples, 8)
    linear = similarity.matrix[:, :2]
    v, u = (
        (torch.arange(samples * length, dtype=torch.float64) + 0.5) / samples
        for length in (height, width)
    )
    there = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)  # (sH, sW, 2)
    here = (there - similarity.matrix[:, 2]) @ torch.linalg.inv(linear).T
    grid = (2 * here / here.new_tensor([width, height]) - 1)[None].to(rgb)
    above = rgb - background[:, None, None]
    moved = F.grid_sample(above[None], grid, mode="bicubic", align_corners=False)
    if samples > 1:
        moved = F.avg_pool2d(moved, samples)
    return (moved[0] + background[:, None, None]).clamp(0, 1)
