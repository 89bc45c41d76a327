"""NeRSemble's colour correction: a polynomial of each camera's colours, in linear light.

Term counts and order as in Cheung, Westland, Connah and Ripamonti, "A comparative study of the
characterisation of colour cameras by means of neural networks and polynomial transforms"
(Coloration Technology, 2004), with the additions of Westland and Ripamonti, table 8.2, as the
package ``colour`` has them. The data set stores one matrix a camera; its number of columns tells
which polynomial it belongs to.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core import InvalidInput

_LINEAR = ("r", "g", "b")
_PAIRS = ("rg", "rb", "gb")
_SQUARES = ("rr", "gg", "bb")
_MIXED = ("rrg", "ggb", "bbr")
_MIXED_BACK = ("rrb", "ggr", "bbg")
_CUBES = ("rrr", "ggg", "bbb")
_QUARTIC = (
    "rrrg", "rrrb", "gggr", "gggb", "bbbr", "bbbg", "rrgb", "rggb", "rgbb",
    "rrgg", "rrbb", "ggbb", "rrrr", "gggg", "bbbb",
)  # fmt: skip
_QUADRATIC = (*_LINEAR, *_PAIRS, *_SQUARES)
_CUBIC = (*_QUADRATIC, "rgb", *_MIXED, *_MIXED_BACK, *_CUBES)
# Each term is a product of channels; the empty product is the constant 1.
TERMS: Mapping[int, tuple[str, ...]] = {
    len(terms): terms
    for terms in (
        _LINEAR,
        (*_LINEAR, ""),
        (*_LINEAR, "rgb", ""),
        (*_LINEAR, *_PAIRS, ""),
        (*_LINEAR, *_PAIRS, "rgb", ""),
        (*_QUADRATIC, ""),
        (*_QUADRATIC, "rgb", ""),
        (*_QUADRATIC, "rgb", *_CUBES, ""),
        (*_QUADRATIC, "rgb", *_MIXED, *_CUBES),
        (*_QUADRATIC, "rgb", *_MIXED, *_CUBES, ""),
        _CUBIC,
        (*_CUBIC, ""),
        (*_CUBIC, "rrgb", "rggb", "rgbb"),
        (*_CUBIC, *_QUARTIC, ""),
    )
}


def expanded(linear: Float[Tensor, "3 H W"], terms: int) -> Float[Tensor, "T H W"]:
    """Return the terms of the polynomial with this many terms.

    Raises:
        InvalidInput: no polynomial has this number of terms.
    """
    if terms not in TERMS:
        raise InvalidInput(
            f"got a correction of {terms} terms, expected one of {', '.join(map(str, TERMS))}"
        )
    channels = dict(zip("rgb", linear, strict=True))
    products = []
    for term in TERMS[terms]:
        product = torch.ones_like(linear[0])
        for channel in term:
            product = product * channels[channel]
        products.append(product)
    return torch.stack(products)


def corrected(rgb: Float[Tensor, "3 H W"], matrix: Float[Tensor, "3 T"]) -> Float[Tensor, "3 H W"]:
    """Return a picture after a camera's colour correction, clipped to [0, 1].

    sRGB is decoded, the polynomial taken, and the result encoded again (nersemble-data,
    ``util/color_correction.py``, which clips where it returns bytes).

    Raises:
        InvalidInput: the matrix has a number of columns that no polynomial has.
    """
    terms = expanded(_decoded(rgb), matrix.shape[1])
    return _encoded(torch.einsum("ct,thw->chw", matrix.to(rgb), terms)).clamp(0, 1)


def _decoded(rgb: Tensor) -> Tensor:
    """Return linear light (IEC 61966-2-1)."""
    curve = ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(rgb <= 0.04045, rgb / 12.92, curve)


def _encoded(linear: Tensor) -> Tensor:
    curve = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, curve)
