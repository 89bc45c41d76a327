"""What all Gaussian files have in common: N decoded rows, some of which may be no Gaussians."""

import logging
import os
from dataclasses import dataclass, fields, replace
from enum import Enum

import numpy as np
import torch
from jaxtyping import Bool, Float

from any3davatar.core import Gaussians, InvalidInput
from any3davatar.io.errors import FormatError

BAD_ROW_REASONS = (
    "with NaN or infinite values",
    "with a zero quaternion",
    "with a scale that is zero, negative or beyond float32",
)

_log = logging.getLogger(__name__)


class BadRows(Enum):
    """What a reader does with rows that are no Gaussians: NaN, infinity, zero quaternions."""

    REFUSE = "refuse"
    DROP = "drop"


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as a file gave them, after activation, with quaternions of any length.

    Attributes:
        means: (N, 3) float32 centres.
        quats: (N, 4) float32 (w, x, y, z), not yet normalised.
        scales: (N, 3) float32 standard deviations.
        opacities: (N,) float32 in [0, 1].
        sh: (N, K, 3) float32 colour coefficients.
    """

    means: Float[np.ndarray, "N 3"]
    quats: Float[np.ndarray, "N 4"]
    scales: Float[np.ndarray, "N 3"]
    opacities: Float[np.ndarray, "N"]
    sh: Float[np.ndarray, "N K 3"]

    def select(self, which: np.ndarray | slice) -> "Rows":
        """Return the rows that a mask, indices or a slice name, in that order."""
        return Rows(*(getattr(self, field.name)[which] for field in fields(self)))


def rows_of(gaussians: Gaussians) -> Rows:
    """Return the rows of one valid set of Gaussians, in float32 on the CPU.

    Raises:
        InvalidInput: a batch of sets, or values that no Gaussians have.
    """
    if gaussians.batch_shape:
        raise InvalidInput(
            f"a file holds one set of Gaussians; got a batch {gaussians.batch_shape}: "
            "index it and write each set to its own file"
        )
    single = gaussians.detach().to("cpu").to(torch.float32).validate()
    return Rows(**{name: tensor.contiguous().numpy() for name, tensor in single.tensors().items()})


def bad_row_masks(rows: Rows) -> Bool[np.ndarray, "3 N"]:
    """Return, for each of `BAD_ROW_REASONS`, which rows are no Gaussians."""
    finite = (
        np.isfinite(rows.means).all(axis=1)
        & np.isfinite(rows.quats).all(axis=1)
        & np.isfinite(rows.opacities)
        & np.isfinite(rows.sh).all(axis=(1, 2))
        & ~np.isnan(rows.scales).any(axis=1)
    )
    with np.errstate(invalid="ignore"):  # numpy warns of signalling NaNs, which are found above
        turned = rows.quats.any(axis=1)
        sized = ((rows.scales > 0) & (rows.scales < np.inf) | np.isnan(rows.scales)).all(axis=1)
    return ~np.stack([finite, turned, sized])


def gaussians_from_rows(
    path: str | os.PathLike[str], rows: Rows, on_bad_rows: BadRows
) -> Gaussians:
    """Return the rows as Gaussians, their quaternions normalised.

    Raises:
        FormatError: rows that are no Gaussians, where they are to be refused.
    """
    masks = bad_row_masks(rows)
    bad = np.logical_or.reduce(masks)
    if bad.any():
        counts = masks.sum(axis=1)
        reasons = ", ".join(
            f"{count} {reason}"
            for count, reason in zip(counts, BAD_ROW_REASONS, strict=True)
            if count
        )
        summary = f"{path}: {int(bad.sum())} of {len(bad)} rows are no Gaussians: {reasons}"
        if on_bad_rows is BadRows.REFUSE:
            raise FormatError(
                f"{summary}; the first is row {int(bad.argmax())}. Repair the file, or read it "
                "with on_bad_rows=BadRows.DROP to leave these rows out"
            )
        _log.warning("%s; dropped", summary)
        rows = rows.select(~bad)
    # In float64: the squares of small float32 components underflow.
    quats = rows.quats.astype(np.float64)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    unit = replace(rows, quats=quats.astype(np.float32))
    return Gaussians(
        **{
            field.name: torch.from_numpy(np.ascontiguousarray(getattr(unit, field.name)))
            for field in fields(unit)
        }
    )
