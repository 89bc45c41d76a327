"""Finding what is wrong with a data set: files, cameras, pictures, people."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead import layout, people
from any3davatar.anyhead.camera_parameters import differs_from_rig, read_camera_parameters
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.heads.spec import SpecError
from any3davatar.anyhead.manifest import Manifest, read_manifest
from any3davatar.anyhead.pictures import read_view, write_views
from any3davatar.anyhead.quality import GREY, silhouette_excess
from any3davatar.anyhead.readers import GroupEntry
from any3davatar.anyhead.records import HeadRecord, read_record, sha256_of
from any3davatar.anyhead.review import read_review
from any3davatar.anyhead.rigs import Rig, make_rig
from any3davatar.anyhead.splits import read_splits
from any3davatar.core import Views
from any3davatar.core.images import composite
from any3davatar.io import FormatError

SILHOUETTE_VIEWS_MAX = 16
SILHOUETTE_EXCESS_MAX = 0.03  # renders: below 0.001; fitted Gaussians: below 0.02
REDRAWN_DIFFERENCE_MAX = 1.5 / 255  # another machine rounds otherwise
THUMBNAIL_PX = 32
SAME_PERSON_DIFFERENCE = 0.02  # colour difference of thumbnails, where either is covered


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: path below the root.
        what: one sentence, with what to do.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Thoroughness:
    """How far to look beyond structure and digests.

    Attributes:
        silhouettes: check that the silhouettes of a group agree through its cameras.
        redraw: views of each group of the digital human to draw again and compare; seconds each.
    """

    silhouettes: bool = True
    redraw: int = 0


def verify(
    root: Path,
    thoroughness: Thoroughness | None = None,
    *,
    on_head: Callable[[str], None] | None = None,
) -> list[Problem]:
    """Return everything that is wrong with a data set; an empty list means that it is sound.

    Raises:
        DataError: there is no data set.
    """
    thoroughness = thoroughness or Thoroughness()
    problems: list[Problem] = []
    sound: list[HeadRecord] = []
    thumbnails: dict[str, Tensor] = {}
    for subset in layout.subsets_in(root):
        try:
            manifest = read_manifest(root / subset)
            read_review(root / subset)
        except (DataError, FormatError, OSError) as error:
            problems.append(Problem(subset, str(error)))
            continue
        problems += _structure(root / subset, manifest)
        for head in sorted(manifest.heads):
            found, record = _head(root / subset / head, manifest)
            if record is not None:
                sound.append(record)
                for group in record.groups:
                    entry = GroupEntry(
                        layout.group_folder(root, subset, head, group.id), group, record
                    )
                    wrong, thumbnail = _group(entry, thoroughness, manifest)
                    found += wrong
                    if thumbnail is not None and group is record.groups[0]:
                        thumbnails[f"{subset}/{head}"] = thumbnail
            problems += found
            if on_head is not None:
                on_head(head)
    problems += _splits(root, sound)
    problems += _duplicates(sound, thumbnails)
    return problems


def _structure(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    there = {path.name for path in layout.heads_in(folder)}
    if not (folder / layout.README).is_file():
        yield Problem(folder.name, f"{layout.README} is missing; build again to write it")
    for head in sorted(manifest.heads.keys() - there):
        yield Problem(f"{folder.name}/{head}", "the head's folder is missing; build again")
    for head in sorted(there - manifest.heads.keys()):
        yield Problem(
            f"{folder.name}/{head}",
            f"the folder is not in {layout.MANIFEST}; build again to take it in, or delete it",
        )


def _head(folder: Path, manifest: Manifest) -> tuple[list[Problem], HeadRecord | None]:
    where = f"{folder.parent.name}/{folder.name}"
    if not folder.is_dir():
        return [], None  # told by _structure
    try:
        record = read_record(folder)
    except (DataError, FormatError, OSError) as error:
        return [Problem(where, str(error))], None
    problems = []
    if sha256_of(folder / layout.HEAD_RECORD) != manifest.heads[folder.name]:
        problems.append(
            Problem(where, f"{layout.HEAD_RECORD} was changed; delete the folder and build again")
        )
    if record.subset != manifest.subset:
        problems.append(Problem(where, f"its record says that it is from {record.subset}"))
    expected = {group.id for group in record.groups if group.id is not None}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in expected:
            problems.append(Problem(f"{where}/{path.name}", "is in no record; delete it"))
    return problems, record


def _group(
    entry: GroupEntry, thoroughness: Thoroughness, manifest: Manifest
) -> tuple[list[Problem], Float[Tensor, "4 h w"] | None]:
    """Return what is wrong with a group, and a thumbnail of its input view if that is readable."""
    files = list(_files(entry))
    try:
        rig = read_camera_parameters(entry.folder / layout.CAMERA_PARAMETERS)
        problems = files + list(_cameras(entry, rig))
        missing = [n for n in entry.record.pictures if not (entry.folder / n).is_file()]
        if missing or len(rig) != len(entry.record.pictures):
            return problems, None
        views = _silhouette_views(rig)
        if thoroughness.silhouettes:
            problems += _pictures(entry, rig, views)
        drawn = _drawn(manifest)
        if thoroughness.redraw and drawn is not None:
            problems += _redrawn(entry, rig, thoroughness.redraw, drawn)
        front = read_view(entry.folder / f"{layout.view_id(rig.input_view)}.png")
    except (FormatError, OSError) as error:
        return [*files, Problem(entry.id, str(error))], None
    return problems, _thumbnail(front)


def _files(entry: GroupEntry) -> Iterator[Problem]:
    recorded = entry.record.files
    there = (
        {path.name for path in entry.folder.iterdir() if path.is_file()}
        if entry.folder.is_dir()
        else set()
    )
    for name in sorted(recorded.keys() - there):
        yield Problem(f"{entry.id}/{name}", "is missing; delete the head's folder and build again")
    for name in sorted(there - recorded.keys() - {layout.HEAD_RECORD}):
        yield Problem(f"{entry.id}/{name}", "is in no record; delete it")
    for name in sorted(there & recorded.keys()):
        if sha256_of(entry.folder / name) != recorded[name]:
            kind = (
                "was mirrored"
                if _is_mirrored(entry.folder / name, recorded[name])
                else ("is not the file that was built")
            )
            yield Problem(f"{entry.id}/{name}", f"{kind}; delete the head's folder and build again")


def _is_mirrored(path: Path, recorded: str) -> bool:
    """Tell whether a picture becomes the recorded one when it is mirrored back."""
    if path.suffix != ".png":
        return False
    try:
        view = read_view(path)
    except FormatError:
        return False
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        write_views(Path(folder), view.rgb.flip(-1)[None], view.alpha.flip(-1)[None])
        return sha256_of(Path(folder) / f"{layout.view_id(0)}.png") == recorded


def _cameras(entry: GroupEntry, rig: Rig) -> Iterator[Problem]:
    where = f"{entry.id}/{layout.CAMERA_PARAMETERS}"
    try:
        wrong = differs_from_rig(rig, make_rig(rig.name, rig.cameras.width, rig.seed))
    except DataError as error:
        wrong = str(error)
    if wrong is not None:
        yield Problem(where, f"{wrong}; delete the head's folder and build again")
    if len(rig) != len(entry.record.pictures):
        yield Problem(where, f"has {len(rig)} views, the record {len(entry.record.pictures)}")


def _silhouette_views(rig: Rig) -> list[int]:
    """Choose evenly among the fixed views, which all see the whole head."""
    fixed = [v for v, kind in enumerate(rig.kinds) if kind == "fixed"]
    step = max(1, -(-len(fixed) // SILHOUETTE_VIEWS_MAX))
    return fixed[::step]


def _pictures(entry: GroupEntry, rig: Rig, chosen: list[int]) -> Iterator[Problem]:
    size = (rig.cameras.height, rig.cameras.width)
    views = [read_view(entry.folder / f"{layout.view_id(v)}.png") for v in chosen]
    for v, view in zip(chosen, views, strict=True):
        if tuple(view.rgb.shape[1:]) != size:
            yield Problem(
                f"{entry.id}/{layout.view_id(v)}.png",
                f"has {view.rgb.shape[2]} x {view.rgb.shape[1]} pixels, its camera {size[1]} x "
                f"{size[0]}",
            )
            return
    excess = silhouette_excess(torch.stack([v.alpha for v in views]), rig.cameras[chosen])
    worst = int(excess.argmax())
    if float(excess[worst]) > SILHOUETTE_EXCESS_MAX:
        yield Problem(
            f"{entry.id}/{layout.view_id(chosen[worst])}.png",
            f"its silhouette contradicts the other views (excess {float(excess[worst]):.3f}): a "
            "mirrored or exchanged picture, or a wrong camera",
        )


class _Drawn(NamedTuple):
    """How a subset was drawn."""

    supersampling: int
    draft: bool


def _drawn(manifest: Manifest) -> _Drawn | None:
    """Return how a subset was drawn, or None where its pictures are not the digital human."""
    drawing, editor = manifest.recipe.get("drawing"), manifest.recipe.get("editor")
    if manifest.subset == layout.AI_GENERATED or not isinstance(drawing, dict):
        return None
    if isinstance(editor, dict) and editor.get("kind") != "procedural":
        return None
    supersampling = drawing.get("supersampling")
    if not isinstance(supersampling, int):
        return None
    return _Drawn(supersampling, manifest.recipe.get("draft") is True)


def _redrawn(entry: GroupEntry, rig: Rig, count: int, drawn: _Drawn) -> Iterator[Problem]:
    """Draw some views again from the record and compare."""
    step = max(1, len(rig) // count)
    chosen = list(range(0, len(rig), step))[:count]
    try:
        spec = people.spec_of(entry.record.attributes)
    except (KeyError, SpecError) as error:
        yield Problem(entry.id, f"its attributes are damaged: {error}")
        return
    again = people.draw(spec, rig.cameras[chosen], drawn.supersampling, draft=drawn.draft)
    for i, v in enumerate(chosen):
        stored = read_view(entry.folder / f"{layout.view_id(v)}.png")
        difference = _over_grey(stored) - _over_grey(again[i])
        if float(difference.abs().mean()) > REDRAWN_DIFFERENCE_MAX:
            yield Problem(
                f"{entry.id}/{layout.view_id(v)}.png",
                "is not what its attributes and camera draw; delete the head's folder and build "
                "again",
            )


def _over_grey(view: Views) -> Float[Tensor, "3 H W"]:
    return composite(view.rgb, view.alpha, GREY)


def _thumbnail(front: Views) -> Float[Tensor, "4 h w"]:
    """Return the front view at a size at which two renders of one person are the same."""
    picture = torch.cat([_over_grey(front), front.alpha])
    return torch.nn.functional.adaptive_avg_pool2d(picture, THUMBNAIL_PX)


def _splits(root: Path, records: list[HeadRecord]) -> Iterator[Problem]:
    if not (root / layout.SPLITS).exists():
        return
    try:
        splits = read_splits(root)
    except (DataError, FormatError, OSError) as error:
        yield Problem(layout.SPLITS, str(error))
        return
    for subject in sorted({record.subject for record in records} - splits.subjects.keys()):
        yield Problem(layout.SPLITS, f"{subject} has no split; run `any3davatar data split`")
    for subject, split in splits.subjects.items():
        if splits.rule.split_of(subject) != split:
            yield Problem(
                layout.SPLITS, f"{subject} is in {split}, its rule says otherwise; split again"
            )


def _duplicates(records: list[HeadRecord], thumbnails: dict[str, Tensor]) -> Iterator[Problem]:
    """Find subjects that are one person: same body and hair, same file, or same looks."""
    by_body: dict[str, set[str]] = defaultdict(set)
    by_file: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for group in record.groups:
            spec = group.attributes.get("spec")
            if isinstance(spec, dict):
                parts = ("identity", "skin", "eyes", "hair")
                by_body[repr([spec.get(part) for part in parts])].add(record.subject)
            for name in group.pictures:
                by_file[group.files[name]].add(record.subject)
    pairs = {tuple(sorted(same)[:2]) for same in (*by_body.values(), *by_file.values()) if same}
    pairs |= set(_lookalikes(records, thumbnails))
    for pair in sorted(pair for pair in pairs if len(pair) == 2):
        yield Problem(
            pair[1], f"is the same person as {pair[0]}; delete one of them and build another seed"
        )


def _lookalikes(
    records: list[HeadRecord], thumbnails: dict[str, Tensor]
) -> Iterator[tuple[str, ...]]:
    for subset in layout.SUBSETS:
        chosen = [r for r in records if f"{subset}/{r.head_id}" in thumbnails]
        chosen = [r for r in chosen if r.subset == subset]
        if len(chosen) < 2:
            continue
        looks = torch.stack([thumbnails[f"{subset}/{r.head_id}"] for r in chosen])
        for i, record in enumerate(chosen[:-1]):
            same = _differences(looks[i], looks[i + 1 :]) < SAME_PERSON_DIFFERENCE
            for j in same.nonzero()[:, 0].tolist():
                if chosen[i + 1 + j].subject != record.subject:
                    yield tuple(sorted((record.subject, chosen[i + 1 + j].subject)))


def _differences(
    one: Float[Tensor, "4 h w"], others: Float[Tensor, "n 4 h w"]
) -> Float[Tensor, "n"]:
    """Return mean differences of colour and alpha over the pixels that either covers."""
    covered = (one[3] > 0.5) | (others[:, 3] > 0.5)
    difference = (others - one).abs().mean(1) * covered
    return difference.sum((1, 2)) / covered.sum((1, 2)).clamp_min(1)
