"""What an alignment did, as ``alignment.json`` holds it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from a3d_bench.errors import BenchError
from a3d_bench.store import RunFolder, write_json
from a3d_bench.types import Alignment


@dataclass(frozen=True)
class AlignedView:
    """What became of a view.

    Attributes:
        view: its index.
        how: ``rendered`` again, ``warped`` by its own landmarks or by the head's centre, warped by
            the subject's ``median``, ``kept`` as the method left it, or ``absent``: there was no
            picture to align.
        scale: of the warp; 1 where there was none.
        angle_deg: of the warp, clockwise as seen; 0 where there was none.
        shift_px: of the warp, of the picture's middle: right, down.
        residual_px: median distance of the landmarks after alignment, or None where either picture
            shows no face.
        sha256: of the aligned file; empty where absent.
    """

    view: int
    how: Literal["rendered", "warped", "median", "kept", "absent"]
    scale: float = 1.0
    angle_deg: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    residual_px: float | None = None
    sha256: str = ""


@dataclass(frozen=True)
class AlignmentRecord:
    """What an alignment did to a method's views of a capture.

    Attributes:
        alignment: its name.
        method: id of the method.
        capture: id of the capture.
        status: ``ok``, or ``failed``: then there are no aligned views, and `reason` says why.
        reason: one line where it failed.
        diagnosis: what looks wrong with the prediction's frame, in words; empty where nothing does.
        similarity: of ``sim3``, what the prediction was moved by: ``scale``, ``rotation`` (three
            rows), ``translation``; also ``turned_deg``. None otherwise.
        numbers: residuals and counts: ``views_with_face_truth``, ``views_with_face_prediction``,
            ``landmarks_apart_before_px``, ``..._after_px`` (medians over the views that show a
            face in both), ``triangulation_px``, ``landmarks_residual`` (unit sphere),
            ``refined_deg``, ``picture_error_before``, ``picture_error_after``; where a similarity
            was found and not applied, ``refused_scale``, ``refused_turned_deg``,
            ``refused_shift``.
        notes: what was decided on the way.
        kept: of ``sim3``, ``kept raw: `` and why, where the views stayed as the method left them;
            empty where they were moved. See `a3d_bench.align.refusal`.
        views: by view.
        inputs: digest of all that went in: alignments are made anew when it changes.
    """

    alignment: Alignment
    method: str
    capture: str
    status: Literal["ok", "failed"]
    reason: str
    inputs: str
    diagnosis: tuple[str, ...] = ()
    similarity: Mapping[str, Any] | None = None
    numbers: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()
    kept: str = ""
    views: tuple[AlignedView, ...] = ()


def record_path(run: RunFolder, method: str, slug: str, alignment: Alignment) -> Path:
    """Return where the record of an alignment is."""
    return run.aligned_folder(alignment, method, slug) / "alignment.json"


def write_alignment(run: RunFolder, slug: str, record: AlignmentRecord) -> None:
    """Write a record: last of its files, so that what it lists is there."""
    write_json(record_path(run, record.method, slug, record.alignment), asdict(record))


def read_alignment(
    run: RunFolder, method: str, slug: str, alignment: Alignment
) -> AlignmentRecord | None:
    """Return the record of an alignment, or None where it was not made.

    Raises:
        BenchError: the file is damaged.
    """
    path = record_path(run, method, slug, alignment)
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        views = tuple(
            AlignedView(**{**view, "shift_px": tuple(view["shift_px"])}) for view in values["views"]
        )
        lists = {name: tuple(values[name]) for name in ("diagnosis", "notes")}
        return AlignmentRecord(**{**values, **lists, "views": views})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BenchError(
            f"{path}: not an alignment of this version ({error}); delete its folder and run again"
        ) from error
