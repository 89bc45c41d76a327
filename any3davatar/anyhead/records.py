"""``HEAD.json``: what a head is, how it was made, and the SHA-256 of each of its files.

::

    {"format": "any3davatar.anyhead.head", "version": 1,
     "subset": "Digital_Human_Heads_Dataset", "head_id": "dh-0000003", "subject": "dh-0000003",
     "seed": 3, "attributes": {...},
     "groups": [{"id": "smile", "attributes": {...}, "accessories": [], "stylised": false,
                 "scores": {}, "files": {"000.png": "<64 hex digits>", ...,
                                         "CAMERA_PARAMETERS.json": "..."}}, ...],
     "rejected_groups": {"crown-gold": {"reason": "...", "scores": {...}}}}

``attributes`` of a group holds, for everything that the digital human draws, the complete
``HeadSpec`` under ``"spec"``: `any3davatar.anyhead.heads.spec.from_json` reads it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.layout import HEAD_RECORD, checked_id, checked_subset
from any3davatar.io import FormatError, atomic_path
from any3davatar.io.json_file import JsonObject, read_json_object

FORMAT = "any3davatar.anyhead.head"
VERSION = 1


@dataclass(frozen=True)
class Rejection:
    """Why something is not in the data set.

    Attributes:
        reason: one sentence.
        scores: what was measured, by name.
    """

    reason: str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupRecord:
    """One condition of a head.

    Attributes:
        id: name of its folder; None where the subset has no such level.
        attributes: what it shows and how it was made, as JSON.
        accessories: kinds of what is worn.
        stylised: whether it shows something else than a photograph would.
        scores: results of the quality control, by name.
        files: SHA-256 by file name: the views and ``CAMERA_PARAMETERS.json``.
    """

    id: str | None
    attributes: Mapping[str, Any]
    accessories: tuple[str, ...]
    stylised: bool
    scores: Mapping[str, float]
    files: Mapping[str, str]

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the view files, in order."""
        return tuple(sorted(name for name in self.files if name.endswith(".png")))


@dataclass(frozen=True)
class HeadRecord:
    """A head of one subset.

    Attributes:
        subset: name of the subset's folder.
        head_id: name of its folder.
        subject: who it is; the same in every subset that shows this person.
        seed: what it was made from.
        attributes: what holds for all groups, as JSON.
        groups: in the order of building; at least one.
        rejected_groups: those that failed their quality control, by id.
    """

    subset: str
    head_id: str
    subject: str
    seed: int
    attributes: Mapping[str, Any]
    groups: tuple[GroupRecord, ...]
    rejected_groups: Mapping[str, Rejection] = field(default_factory=dict)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file directly in a folder, by name, sorted."""
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()}


def write_record(folder: Path, record: HeadRecord) -> None:
    """Write ``HEAD.json`` into a head's folder; equal records give equal bytes."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "subset": record.subset,
        "head_id": record.head_id,
        "subject": record.subject,
        "seed": record.seed,
        "attributes": dict(record.attributes),
        "groups": [
            {
                "id": group.id,
                "attributes": dict(group.attributes),
                "accessories": list(group.accessories),
                "stylised": group.stylised,
                "scores": dict(group.scores),
                "files": dict(group.files),
            }
            for group in record.groups
        ],
        "rejected_groups": {
            name: plain_rejection(rejection)
            for name, rejection in sorted(record.rejected_groups.items())
        },
    }
    with atomic_path(folder / HEAD_RECORD) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path) -> HeadRecord:
    """Read the ``HEAD.json`` of a head's folder.

    Raises:
        FormatError: damaged, of another kind or version, or about another head than the folder's.
        DataError: an id that is no name of a folder.
        OSError: the file can't be opened.
    """
    top = read_json_object(folder / HEAD_RECORD)
    if top.values.get("format") != FORMAT:
        top.refuse("format", repr(FORMAT))
    if top.values.get("version") != VERSION:
        top.refuse("version", f"{VERSION}; a newer release may have written it")
    if top.text("head_id") != folder.name:
        top.refuse("head_id", f"{folder.name!r}, the name of the folder")
    return HeadRecord(
        subset=checked_subset(top.text("subset")),
        head_id=checked_id(top.text("head_id"), "head id"),
        subject=checked_id(top.text("subject"), "subject"),
        seed=int(top.number("seed")),
        attributes=_mapping(top, "attributes"),
        groups=tuple(_group(member) for member in top.objects("groups")),
        rejected_groups=read_rejections(top, "rejected_groups"),
    )


def plain_rejection(rejection: Rejection) -> dict[str, Any]:
    """Return a rejection as JSON."""
    return {"reason": rejection.reason, "scores": dict(rejection.scores)}


def read_rejections(holder: JsonObject, key: str) -> dict[str, Rejection]:
    """Return rejections by id, as `plain_rejection` wrote them."""
    found = {}
    for name, member in _mapping(holder, key).items():
        if not isinstance(member, dict):
            holder.refuse(key, "an object of objects")
        inner = JsonObject(holder.path, f"{holder.place}{key}.{name}.", member)
        found[checked_id(name, "rejected id")] = Rejection(
            inner.text("reason"), _scores(inner, "scores")
        )
    return found


def _group(member: JsonObject) -> GroupRecord:
    identifier = member.values.get("id")
    accessories = member.values.get("accessories")
    if not isinstance(accessories, list) or not all(isinstance(kind, str) for kind in accessories):
        member.refuse("accessories", "a list of names")
    stylised = member.values.get("stylised")
    if not isinstance(stylised, bool):
        member.refuse("stylised", "true or false")
    files = _mapping(member, "files")
    for name, digest in files.items():
        checked_id(name.partition(".")[0], "file name")
        if "." not in name or "/" in name or "\\" in name:
            raise FormatError(f"{member.path}: got the file name {name[:80]!r}")
        if not (isinstance(digest, str) and len(digest) == 64):
            member.refuse("files", "a SHA-256 of 64 hexadecimal digits for each file")
    return GroupRecord(
        id=None if identifier is None else checked_id(member.text("id"), "group id"),
        attributes=_mapping(member, "attributes"),
        accessories=tuple(accessories),
        stylised=stylised,
        scores=_scores(member, "scores"),
        files=files,
    )


def _mapping(holder: JsonObject, key: str) -> dict[str, Any]:
    value = holder.values.get(key)
    if not isinstance(value, dict):
        holder.refuse(key, "an object")
    return value


def _scores(holder: JsonObject, key: str) -> dict[str, float]:
    inner = JsonObject(holder.path, f"{holder.place}{key}.", _mapping(holder, key))
    return {name: inner.number(name) for name in inner.values}


def checked_groups(record: HeadRecord) -> HeadRecord:
    """Return a record that a build made, or raise `DataError` for one that breaks the layout."""
    ids = [group.id for group in record.groups]
    if not ids or len(set(ids)) < len(ids) or (None in ids and len(ids) > 1):
        raise DataError(
            f"{record.head_id}: got the groups {ids}, expected at least one, all different, or a "
            "single one without an id"
        )
    return record
