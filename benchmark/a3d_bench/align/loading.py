"""The pictures of a run, read for alignment and validation."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.store import CaptureRow, RunFolder
from any3davatar.core.images import composite
from any3davatar.io import FormatError, read_png


@dataclass(frozen=True, eq=False)
class TruthViews:
    """True pictures, by view.

    Attributes:
        rgb: over the protocol's background.
        alpha: coverage; all 1 where the file has none.
    """

    rgb: dict[int, Float[Tensor, "3 H W"]]
    alpha: dict[int, Float[Tensor, "1 H W"]]


def read_truth(run: RunFolder, row: CaptureRow, background: Float[Tensor, "3"]) -> TruthViews:
    """Return the true pictures of a capture.

    Raises:
        FormatError: one is damaged.
        OSError: one can't be opened.
    """
    rgb: dict[int, Tensor] = {}
    alpha: dict[int, Tensor] = {}
    for view in range(len(row.views)):
        color, coverage = read_png(run.truth_path(row.slug, view))
        alpha[view] = torch.ones_like(color[:1]) if coverage is None else coverage
        rgb[view] = composite(color, alpha[view], background)
    return TruthViews(rgb, alpha)


def read_predicted(
    run: RunFolder, method: str, row: CaptureRow, size: tuple[int, int]
) -> dict[int, Float[Tensor, "3 H W"]]:
    """Return the predicted pictures that can be read and have the right size, by view."""
    pictures: dict[int, Tensor] = {}
    for view in range(len(row.views)):
        try:
            rgb, _ = read_png(run.view_path(method, row.slug, view))
        except (FormatError, OSError):
            continue
        if tuple(rgb.shape[1:]) == size:
            pictures[view] = rgb
    return pictures


def sha256_of_file(path: Path) -> str:
    """Return the digest of a file, or an empty string where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
