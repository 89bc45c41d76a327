"""What a rasterization is parametrised by, and the constants of the classic 3DGS image model.

The values are those of gsplat 1.5.3 with ``rasterize_mode="classic"``; every backend follows them.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from any3davatar.core.errors import InvalidInput

ALPHA_MAX = 0.999  # gsplat 1.6 moves this to 0.99: pin gsplat to 1.5
ALPHA_MIN = 1.0 / 255.0  # contributions below one 8-bit step are skipped
TRANSMITTANCE_MIN = 1e-4  # a pixel is finished before its transmittance would fall to this
EXTENT_MAX_SIGMA = 3.33  # radius of the footprint in standard deviations, at most
JACOBIAN_MARGIN = 0.3  # x/z is clamped to the image edge plus this share of tan(fov) per side
DEPTH_ALPHA_MIN = 1e-10  # expected depth divides by max(alpha, this)


@dataclass(frozen=True)
class RasterSettings:
    """Arguments of the image model that callers may change.

    Attributes:
        near: Gaussians whose centre has camera depth below this (world units) are culled.
        far: Gaussians whose centre has camera depth above this are culled.
        dilation_px2: added to the diagonal of each projected covariance, in square pixels
            (``eps2d`` in gsplat): the low-pass filter of 3DGS.
        radius_clip_px: Gaussians whose two pixel radii are both at most this are culled.
    """

    near: float = 0.01
    far: float = 1e10
    dilation_px2: float = 0.3
    radius_clip_px: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.near < self.far:
            raise InvalidInput(
                f"near and far must satisfy 0 < near < far; got {self.near}, {self.far}"
            )
        if not (math.isfinite(self.dilation_px2) and self.dilation_px2 >= 0):
            raise InvalidInput(f"dilation_px2 must be finite and >= 0; got {self.dilation_px2}")
        if not self.radius_clip_px >= 0:
            raise InvalidInput(f"radius_clip_px must be >= 0; got {self.radius_clip_px}")


class Rasterized(NamedTuple):
    """What a backend returns for B heads, each seen by V cameras.

    Attributes:
        channels: (B, V, D, H, W), composited over the background.
        alpha: (B, V, 1, H, W), one minus the remaining transmittance.
        depth: (B, V, 1, H, W), expected camera depth, sum(w z) / max(alpha, 1e-10); None where it
            was not asked for.
    """

    channels: Tensor
    alpha: Tensor
    depth: Tensor | None
