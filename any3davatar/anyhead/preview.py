"""Contact sheets: what a data set looks like, and what a person decides on."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.layout import REVIEW
from any3davatar.anyhead.readers import AnyHead, GroupEntry, HeadCapture
from any3davatar.anyhead.review import Review, Verdict, read_review, write_review
from any3davatar.anyhead.stages.portraits import resized
from any3davatar.core.images import composite
from any3davatar.io import write_png

WHITE = torch.ones(3)
SHEET_PIXELS_MAX = 1 << 25


def contact_sheet(
    captures: Sequence[HeadCapture], *, columns: int, cell_px: int
) -> Float[Tensor, "3 H W"]:
    """Return one row a group, of views chosen evenly, the input view first.

    Raises:
        DataError: nothing to show, or a sheet larger than 32 megapixels.
        FormatError: a picture is damaged.
    """
    if not captures:
        raise DataError("there is no group to show; build some heads first")
    if len(captures) * columns * cell_px**2 > SHEET_PIXELS_MAX:
        raise DataError(
            f"{len(captures)} x {columns} cells of {cell_px} pixels are too many for one sheet; "
            "show fewer groups, or smaller cells"
        )
    rows = [_row(capture, columns, cell_px) for capture in captures]
    return torch.cat(rows, dim=1)


def _row(capture: HeadCapture, columns: int, cell_px: int) -> Float[Tensor, "3 H W"]:
    count = len(capture)
    chosen = [(capture.input_view + i * count // columns) % count for i in range(columns)]
    cells = []
    for v in chosen:
        view = resized(capture.pictures[v].read(), cell_px)
        cells.append(composite(view.rgb, view.alpha, WHITE))
    return torch.cat(cells, dim=2)


def write_review_sheets(root: Path, subset: str, *, cell_px: int = 192) -> list[Path]:
    """Write a sheet of all views of each group, and ``REVIEW.json`` to decide in.

    Decisions that were made already are kept; new groups are added as undecided.

    Raises:
        DataError, FormatError, OSError: see `any3davatar.anyhead.readers.AnyHead`.
    """
    folder = root / subset
    known = read_review(folder).groups
    # Listed without REVIEW.json's say, so that a rejection can be taken back.
    listed = AnyHead(root, with_rejected=True).groups
    entries = [entry for entry in listed if entry.head.subset == subset]
    sheets = folder / ".review"
    sheets.mkdir(exist_ok=True)
    written = []
    for entry in entries:
        path = sheets / f"{entry.head.head_id}_{entry.record.id or 'views'}.png"
        write_png(path, _all_views(entry, cell_px))
        written.append(path)
    verdicts = {
        entry.id: Verdict(
            known[entry.id].decision if entry.id in known else "undecided",
            known[entry.id].note if entry.id in known else "",
            entry.record.scores,
        )
        for entry in entries
    }
    write_review(folder, Review(verdicts))
    return [folder / REVIEW, *written]


def _all_views(entry: GroupEntry, cell_px: int) -> Float[Tensor, "3 H W"]:
    capture = entry.capture()
    columns = 4 if len(capture) <= 16 else 10
    cells = []
    for picture in capture.pictures:
        view = resized(picture.read(), cell_px)
        cells.append(composite(view.rgb, view.alpha, WHITE))
    cells += [torch.ones(3, cell_px, cell_px)] * (-len(cells) % columns)
    rows = [torch.cat(cells[i : i + columns], dim=2) for i in range(0, len(cells), columns)]
    return torch.cat(rows, dim=1)
