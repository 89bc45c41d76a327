"""Opening data for a protocol: recognise the folder, read it, choose what the protocol scores."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from a3d_bench.captures.anyhead import is_anyhead, read_anyhead
from a3d_bench.captures.camera_files import CAMERA_FILES, camera_file_in, read_camera_folders
from a3d_bench.captures.found import Found, Kind, Problem
from a3d_bench.captures.imported import LIST, is_imported, read_imported
from a3d_bench.captures.nersemble import is_nersemble, read_nersemble
from a3d_bench.captures.selection import chosen_subjects, chosen_views, shortcomings
from a3d_bench.captures.sources import digest_of
from a3d_bench.errors import BenchError
from a3d_bench.pictures import source_size_px
from a3d_bench.protocol import DataRule, Protocol
from a3d_bench.types import Capture
from any3davatar.anyhead import layout
from any3davatar.anyhead.errors import DataError
from any3davatar.io import FormatError

_SUBJECTS_IN_MESSAGE = 3


@dataclass(frozen=True, eq=False)
class CaptureSet:
    """What a run scores.

    Attributes:
        name: of the data, short.
        kind: the layout that was recognised.
        recognised: the same in words, with the folder.
        captures: with the protocol's views in its order; pictures are read when asked for.
        partial: in what way this is not the protocol's whole data; None where it is.
        problems: subjects and captures that can't be scored, with reasons.
        notes: what was decided while reading, where all captures agree on it.
    """

    name: str
    kind: Kind
    recognised: str
    captures: tuple[Capture, ...]
    partial: str | None
    problems: tuple[Problem, ...]
    notes: dict[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ids, pictures and cameras of all captures; reads every file once."""
        return digest_of(capture_digest(capture) for capture in self.captures)


def capture_digest(capture: Capture) -> str:
    """Return the SHA-256 of a capture: ids, digests of its pictures, cameras, input view."""
    return digest_of(
        [
            capture.id,
            capture.subject,
            capture.input_view,
            list(capture.view_names),
            [view.sha256 for view in capture.views],
            capture.cameras.world_to_camera.tolist(),
            capture.cameras.K.tolist(),
            [capture.cameras.width, capture.cameras.height],
        ]
    )


def open_captures(
    protocol: Protocol,
    data: Path | None,
    *,
    limit: int | None = None,
    frame: str | None = None,
    workers: int = 1,
    on_head: Callable[[str], None] | None = None,
) -> CaptureSet:
    """Return the captures that a protocol scores.

    Args:
        protocol: decides subjects, cameras, input and views.
        data: folder of any kind that `read_folder` knows, or a camera file; None for
            ``anyhead-mini``, built into the cache at the size that the protocol needs.
        limit: take so many captures at most.
        frame: the world of camera files, a key of `any3davatar.core.frames.WORLD_FRAMES`; None to
            guess, which is noted.
        workers: processes for building ``anyhead-mini``.
        on_head: called with the id of each head that is built or found.

    Raises:
        BenchError: no data where the protocol needs some, a folder of no known kind, or nothing in
            it that can be scored.
    """
    if limit is not None and limit < 1:
        raise BenchError(f"limit: got {limit}, expected at least 1")
    if data is None:
        found = _ready(protocol, limit, workers, on_head)
    else:
        found = read_folder(data, protocol.data, frame)
    subjects = chosen_subjects(found.captures, protocol.data)
    pairs = [chosen_views(capture, protocol) for capture in subjects[:limit]]
    captures = tuple(capture for capture, _ in pairs)
    if not captures:
        reasons = "; ".join(each.reason for each in found.problems[:_SUBJECTS_IN_MESSAGE])
        raise BenchError(
            f"{found.recognised}: nothing in it can be scored: {reasons or 'it is empty'}"
        )
    lacks = [lack for _, each in pairs for lack in each]
    reasons = shortcomings(captures, lacks, protocol)
    if len(captures) < len(subjects):
        reasons.append(f"limited to {len(captures)} of {len(subjects)} captures")
    return CaptureSet(
        name=protocol.data.dataset if data is None else data.resolve().name,
        kind=found.kind,
        recognised=found.recognised,
        captures=captures,
        partial="; ".join(reasons) or None,
        problems=found.problems,
        notes=_common_notes(captures),
    )


def read_folder(data: Path, rule: DataRule, frame: str | None = None) -> Found:
    """Read a folder of any kind: AnyHead, NeRSemble V2, imported, or with camera files.

    Args:
        data: the folder, or one camera file.
        rule: tells NeRSemble's reader which sequences and frames.
        frame: as in `open_captures`.

    Raises:
        BenchError: it is not there, or of no known kind; the message says what was looked for.
    """
    try:
        return _read(data, rule, frame)
    except (DataError, FormatError, OSError) as error:
        raise BenchError(f"{data}: can't be read: {error}") from error


def _read(data: Path, rule: DataRule, frame: str | None) -> Found:
    if data.is_file():
        return read_camera_folders([data], data.parent, frame)
    if not data.is_dir():
        raise BenchError(f"{data}: there is no such folder or file; check the path of --data")
    if data.name in layout.SUBSETS:
        data = data.resolve().parent
    if is_anyhead(data):
        return read_anyhead(data, frame=frame)
    if is_imported(data):
        return read_imported(data)
    if is_nersemble(data):
        return read_nersemble(data, rule)
    if (data / "calibration" / "camera_params.json").is_file():
        only = replace_subjects(rule, (data.resolve().name,))
        return read_nersemble(data.resolve().parent, only)
    files = [file for folder in (data, *_subfolders(data)) if (file := camera_file_in(folder))]
    if files:
        return read_camera_folders(files, data, frame)
    raise BenchError(
        f"{data}: of no kind that is known here. Looked for an AnyHead data set "
        f"({', '.join(layout.SUBSETS)}), NeRSemble ({{id}}/calibration/camera_params.json), an "
        f"import ({LIST}), and {', '.join(CAMERA_FILES)} in the folder and in its folders; got "
        f"{', '.join(sorted(path.name for path in data.iterdir())[:5]) or 'an empty folder'}"
    )


def replace_subjects(rule: DataRule, subjects: tuple[str, ...]) -> DataRule:
    """Return a data rule for other subjects; each keeps the sequence that it has in the rule."""
    if not set(subjects) <= set(rule.subjects) or len(subjects) != 1 or not rule.sequences:
        return rule.model_copy(update={"subjects": subjects})
    k = rule.subjects.index(subjects[0]) % len(rule.sequences)
    return rule.model_copy(update={"subjects": subjects, "sequences": (rule.sequences[k],)})


def _subfolders(data: Path) -> list[Path]:
    return sorted(path for path in data.iterdir() if path.is_dir() and path.name[0] != ".")


def _ready(
    protocol: Protocol,
    limit: int | None,
    workers: int,
    on_head: Callable[[str], None] | None,
) -> Found:
    """Return ``anyhead-mini``, as far as the protocol wants it, built into the cache."""
    from any3davatar.anyhead.heads.assets import AssetsUnavailable
    from any3davatar.anyhead.ready import EVALUATION_ROLES, MINI, EvaluationHeads, open_mini

    if protocol.data.kind != "anyhead":
        raise BenchError(
            f"the protocol {protocol.name} scores {protocol.data.dataset}, which can't be built "
            "here; give its folder with --data"
        )
    heads = {EvaluationHeads().head_id(seed): seed for seed in EVALUATION_ROLES}
    wanted = protocol.data.subjects or tuple(heads)
    unknown = [subject for subject in wanted if subject not in heads]
    if unknown:
        raise BenchError(
            f"the protocol {protocol.name} names {unknown[0]!r}, which is no person of {MINI}; "
            "give the folder of its data with --data"
        )
    seeds = [heads[subject] for subject in wanted[:limit]]
    size_px = protocol.data.drawn_px or source_size_px(protocol.picture)
    try:
        data = open_mini(size_px=size_px, seeds=seeds, workers=workers, on_head=on_head)
    except (AssetsUnavailable, DataError, FormatError, OSError) as error:
        raise BenchError(f"{MINI} can't be built: {error}") from error
    found = read_anyhead(data.root, frozenset(wanted[:limit]))
    return replace(
        found,
        recognised=f"no --data was given: {MINI}, drawn by the procedural digital human at "
        f"{size_px} pixels, {len(found.captures)} captures in {data.root}",
    )


def _common_notes(captures: tuple[Capture, ...]) -> dict[str, str]:
    first = captures[0].notes
    return {
        key: text
        for key, text in first.items()
        if all(capture.notes.get(key) == text for capture in captures)
    }
