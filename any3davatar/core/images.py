"""Rendered or captured pictures, and what may be done to them: compositing, straight alpha."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.core.shapes import check_shapes


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures of V (or ``*b``) views.

    Attributes:
        rgb: (*b, 3, H, W) sRGB-encoded, nominally in [0, 1]. A render's `rgb` already lies over
            the background that it was rendered with; `straight_rgb` takes that off again.
        alpha: (*b, 1, H, W) coverage in [0, 1].
        depth: (*b, 1, H, W) camera depth (z, world units), or None. Means nothing where alpha is 0.
    """

    rgb: Float[Tensor, "*b 3 H W"]
    alpha: Float[Tensor, "*b 1 H W"]
    depth: Float[Tensor, "*b 1 H W"] | None = None

    def __post_init__(self) -> None:
        tensors = {"rgb": (self.rgb, (3, "H", "W")), "alpha": (self.alpha, (1, "H", "W"))}
        if self.depth is not None:
            tensors["depth"] = (self.depth, (1, "H", "W"))
        check_shapes("Views", tensors)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading dimensions ``*b``."""
        return tuple(self.rgb.shape[:-3])

    def to(self, target: torch.device | torch.dtype | str) -> "Views":
        """Return the views on another device or in another floating-point type."""
        depth = None if self.depth is None else self.depth.to(target)
        return Views(self.rgb.to(target), self.alpha.to(target), depth)

    def __getitem__(self, index: object) -> "Views":
        if not self.batch_shape:
            raise InvalidInput("a single view cannot be indexed")
        depth = None if self.depth is None else self.depth[index]  # pyright: ignore[reportArgumentType] torch's index type
        return replace(self, rgb=self.rgb[index], alpha=self.alpha[index], depth=depth)  # pyright: ignore[reportArgumentType]


def composite(
    straight_rgb: Float[Tensor, "*b 3 H W"],
    alpha: Float[Tensor, "*b 1 H W"],
    background: Float[Tensor, "3"],
) -> Float[Tensor, "*b 3 H W"]:
    """Lay a picture with straight alpha over a background colour, in the encoded (sRGB) values.

    Gaussian splatting composites encoded values, so everything here does.
    """
    return straight_rgb * alpha + background[:, None, None] * (1 - alpha)


def straight_rgb(
    rgb_over: Float[Tensor, "*b 3 H W"],
    alpha: Float[Tensor, "*b 1 H W"],
    background: Float[Tensor, "3"],
) -> Float[Tensor, "*b 3 H W"]:
    """Undo `composite`: the colour that an 8-bit RGBA file stores; 0 where alpha is 0."""
    covered = rgb_over - background[:, None, None] * (1 - alpha)
    return torch.where(alpha > 0, covered / alpha.clamp_min(1e-6), torch.zeros_like(covered))
