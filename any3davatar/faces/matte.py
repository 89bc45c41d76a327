"""Who stands before what: MediaPipe's selfie segmentation."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.faces.networks import SELFIE_SEGMENTATION, Network

INPUT_PX = 256


@lru_cache(maxsize=1)
def _network() -> Network:
    return Network(SELFIE_SEGMENTATION)


def selfie_matte(rgb: Float[Tensor, "3 H W"]) -> Float[Tensor, "1 H W"]:
    """Return how much of each pixel is person, in [0, 1], for a portrait of one or few people.

    The network sees the whole picture at 256 x 256: crop to head and shoulders first.

    Args:
        rgb: sRGB in [0, 1].

    Raises:
        RegistryFileUnavailable: the network is not in the cache and can't be fetched.
    """
    height, width = rgb.shape[1:]
    picture = rgb.detach().cpu().float()[None]
    small = F.interpolate(picture, (INPUT_PX, INPUT_PX), mode="bilinear", antialias=True)
    (mask,) = _network()(small[0].movedim(0, -1).numpy())
    person = torch.from_numpy(mask[..., 0])[None]
    full = F.interpolate(person, (height, width), mode="bilinear", antialias=True)[0]
    return full.clamp(0, 1)
