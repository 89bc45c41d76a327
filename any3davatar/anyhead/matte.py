"""Alpha for pictures that came back from an editor or a generator on their white background."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import Views
from any3davatar.core.images import straight_rgb

WHITE = torch.ones(3)
NEAR_WHITE = 0.03  # what compression and noise leave of a white background
_FULL_AT = 0.25  # a pixel at the outline that differs from white by this much is taken as covered


def alpha_from_white(rgb: Float[Tensor, "3 H W"]) -> Float[Tensor, "1 H W"]:
    """Return coverage of what stands before white.

    Background is what is near white and connected to the picture's edge, so that eyes, teeth and
    highlights stay covered. Pixels that touch it get a soft alpha from their distance to white.
    """
    from scipy import ndimage

    distance = (1 - rgb).amax(0).numpy()
    near_white = distance < NEAR_WHITE
    at_edge = np.zeros_like(near_white)
    at_edge[[0, -1], :] = at_edge[:, [0, -1]] = True
    background = np.asarray(
        ndimage.binary_propagation(at_edge & near_white, mask=near_white), dtype=bool
    )
    outline = np.asarray(ndimage.binary_dilation(background), dtype=bool) & ~background
    alpha = np.where(outline, np.clip(distance / _FULL_AT, 0, 1), np.where(background, 0.0, 1.0))
    return torch.from_numpy(alpha.astype(np.float32))[None]


def views_from_white(pictures: Float[Tensor, "V 3 H W"]) -> Views:
    """Return straight colour and alpha of pictures on white."""
    alpha = torch.stack([alpha_from_white(picture) for picture in pictures])
    return Views(straight_rgb(pictures, alpha, WHITE).clamp(0, 1), alpha)
