"""Captures of an AnyHead data set: any of its three subsets, group by group.

A subset that this library built has a manifest, which tells what belongs to it. Without one, the
folders of the paper's appendix C.2 are taken as they lie: each that holds pictures and
``CAMERA_PARAMETERS.json``, in any of the formats that `any3davatar.io.read_camera_file` knows.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from a3d_bench.captures.camera_files import camera_capture
from a3d_bench.captures.found import Found, Problem
from a3d_bench.captures.sources import PICTURE_SUFFIXES, RecordedPicture, checked_inside
from a3d_bench.errors import BenchError
from a3d_bench.types import Capture
from any3davatar.anyhead import layout
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.manifest import Manifest, read_manifest
from any3davatar.anyhead.readers import GroupEntry, HeadCapture
from any3davatar.anyhead.ready import MINI
from any3davatar.anyhead.records import read_record
from any3davatar.anyhead.review import read_review
from any3davatar.core import InvalidInput
from any3davatar.io import FormatError

DATASET = "AnyHead"
_SUBSET_WORDS = {
    layout.AI_GENERATED: "ai-generated",
    layout.DIGITAL_HUMAN: "digital-human",
    layout.ACCESSORY_RICH: "accessory-rich",
}
# What the folders of a subset without a manifest are named after.
_GROUP_WORDS = {
    layout.AI_GENERATED: "group",
    layout.DIGITAL_HUMAN: "expression",
    layout.ACCESSORY_RICH: "accessory",
}


def is_anyhead(root: Path) -> bool:
    """Return whether a folder holds at least one of the three subsets."""
    return any((root / subset).is_dir() for subset in layout.SUBSETS)


def read_anyhead(
    root: Path, subjects: frozenset[str] | None = None, frame: str | None = None
) -> Found:
    """Read a data set: a damaged head, or a group with a missing picture, is a problem of its own.

    Args:
        root: the folder above the subsets.
        subjects: whose heads; None for everybody's.
        frame: the world of subsets without a manifest, as in `read_camera_folders`.

    Raises:
        BenchError: a manifest is damaged, so nobody can tell what belongs to the set.
    """
    captures: list[Capture] = []
    problems: list[Problem] = []
    for subset in layout.SUBSETS:
        if (root / subset / layout.MANIFEST).exists():
            manifest = _manifest(root / subset)
            dataset = MINI if manifest.recipe.get("kind") == MINI else DATASET
            for head in sorted(manifest.heads):
                _read_head(root, subset, head, subjects, dataset, captures, problems)
        elif (root / subset).is_dir():
            _read_folders(root, subset, subjects, frame, captures, problems)
    captures.sort(key=lambda capture: capture.id)
    heads = len({capture.subject for capture in captures})
    return Found(
        "anyhead",
        f"AnyHead data set in {root}: {heads} persons, {len(captures)} groups",
        tuple(captures),
        tuple(problems),
    )


def _manifest(subset_folder: Path) -> Manifest:
    try:
        return read_manifest(subset_folder)
    except (DataError, FormatError, OSError) as error:
        raise BenchError(
            f"{subset_folder}: its {layout.MANIFEST} can't be read, so nobody can tell which heads "
            f"belong to the set: {error}"
        ) from error


def _read_folders(
    root: Path,
    subset: str,
    subjects: frozenset[str] | None,
    frame: str | None,
    captures: list[Capture],
    problems: list[Problem],
) -> None:
    """Read the groups of a subset without a manifest: every folder with cameras."""
    for head in layout.heads_in(root / subset):
        if subjects is not None and head.name not in subjects:
            continue
        groups = [group for group in (head, *layout.heads_in(head)) if _has_pictures(group)]
        for group in groups:
            name = group.relative_to(root).as_posix()
            file = group / layout.CAMERA_PARAMETERS
            try:
                capture = camera_capture(
                    checked_inside(root, file),
                    id=name,
                    subject=head.name,
                    dataset=DATASET,
                    frame=frame,
                )
            except (BenchError, FormatError, InvalidInput, OSError) as error:
                problems.append(Problem(name, str(error)))
                continue
            shown = {} if group == head else {_GROUP_WORDS[subset]: group.name}
            strata = {"subset": _SUBSET_WORDS[subset], **shown}
            captures.append(replace(capture, strata=strata))


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in PICTURE_SUFFIXES for path in folder.iterdir())


def _read_head(
    root: Path,
    subset: str,
    head: str,
    subjects: frozenset[str] | None,
    dataset: str,
    captures: list[Capture],
    problems: list[Problem],
) -> None:
    try:
        for entry in _entries(root, subset, head, subjects):
            try:
                captures.append(_capture(root, entry.capture(), dataset))
            except (BenchError, DataError, FormatError, InvalidInput, OSError) as error:
                problems.append(Problem(entry.id, str(error)))
    except (DataError, FormatError, OSError) as error:
        problems.append(Problem(f"{subset}/{head}", str(error)))


def _entries(
    root: Path, subset: str, head: str, subjects: frozenset[str] | None
) -> Iterator[GroupEntry]:
    """Yield the groups of a head that nobody rejected."""
    record = read_record(layout.head_folder(root, subset, head))
    rejected = read_review(root / subset).rejected
    if subjects is None or record.subject in subjects:
        for group in record.groups:
            folder = layout.group_folder(root, subset, head, group.id)
            entry = GroupEntry(folder, group, record)
            if entry.id not in rejected:
                yield entry


def _capture(root: Path, group: HeadCapture, dataset: str) -> Capture:
    width, height = group.cameras.width, group.cameras.height
    accessories = "+".join(sorted(set(group.accessories))) or "none"
    return Capture(
        id=group.id,
        subject=group.subject,
        dataset=dataset,
        input_view=group.input_view,
        cameras=group.cameras,
        views=tuple(
            RecordedPicture(checked_inside(root, picture.path), picture.sha256, width, height)
            for picture in group.pictures
        ),
        view_names=tuple(layout.view_id(v) for v in range(len(group))),
        strata={
            "subset": _SUBSET_WORDS[group.subset],
            "accessory": accessories,
            "stylised": "yes" if group.stylised else "no",
            **_expression(group),
        },
        notes={"frame": "the canonical world", "alpha": "the pictures' own"},
    )


def _expression(group: HeadCapture) -> dict[str, str]:
    """Return the expression, where a group's folder or the words of its prompt name one."""
    if group.subset == layout.DIGITAL_HUMAN:
        return {"expression": group.id.rpartition("/")[2]}
    words = group.attributes.get("words")
    named = words.get("expression") if isinstance(words, dict) else None
    return {"expression": named} if isinstance(named, str) else {}
