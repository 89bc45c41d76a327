"""Views on disk: RGBA PNGs, straight alpha, 8 bits a channel.

Straight alpha keeps the hair's edge free of any background colour, so that a set can be laid over
every background that a method wants. Colour is 0 where alpha is 0.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead.layout import view_id
from any3davatar.core import Views
from any3davatar.io import FormatError, read_png, write_png


def write_view(path: Path, rgb: Float[Tensor, "3 H W"], alpha: Float[Tensor, "1 H W"]) -> None:
    """Write one view; `rgb` is straight, in [0, 1]."""
    write_png(path, torch.where(alpha > 0, rgb, torch.zeros_like(rgb)), alpha)


def write_views(
    folder: Path, rgb: Float[Tensor, "V 3 H W"], alpha: Float[Tensor, "V 1 H W"]
) -> None:
    """Write V views as ``000.png``, ``001.png``, ...; `rgb` is straight, in [0, 1]."""
    for v, (color, coverage) in enumerate(zip(rgb, alpha, strict=True)):
        write_view(folder / f"{view_id(v)}.png", color, coverage)


def read_view(path: Path) -> Views:
    """Read one view: straight colour and alpha, leading dimensions none.

    Raises:
        FormatError: damaged, no PNG, or a picture without alpha.
        OSError: the file can't be opened.
    """
    rgb, alpha = read_png(path)
    if alpha is None:
        raise FormatError(f"{path}: got a picture without alpha, expected RGBA; restore the file")
    return Views(rgb, alpha)


def read_views(paths: Iterable[Path]) -> Views:
    """Read views of one size; (V, ...)."""
    views = [read_view(path) for path in paths]
    return Views(torch.stack([v.rgb for v in views]), torch.stack([v.alpha for v in views]))
