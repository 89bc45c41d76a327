"""``MANIFEST.json`` of a subset: its recipe, the SHA-256 of each head's record, and what failed.

::

    {"format": "any3davatar.anyhead.manifest", "version": 1, "subset": "...",
     "recipe": {...}, "heads": {"dh-0000003": "<SHA-256 of its HEAD.json>", ...},
     "rejected": {"dh-0000007": {"reason": "...", "scores": {...}}}}

Records hold the digests of the pictures, so the manifest's own digest stands for every byte of the
subset. A head is listed after its folder is in place, never before.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.layout import MANIFEST, checked_id, checked_subset
from any3davatar.anyhead.records import Rejection, plain_rejection, read_rejections
from any3davatar.io import atomic_path
from any3davatar.io.json_file import read_json_object

FORMAT = "any3davatar.anyhead.manifest"
VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """What a subset holds.

    Attributes:
        subset: name of its folder.
        recipe: everything that decides its bytes except the number of heads, as JSON.
        heads: SHA-256 of each ``HEAD.json``, by head id.
        rejected: heads that failed, by id; they are not tried again.
    """

    subset: str
    recipe: Mapping[str, Any]
    heads: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, Rejection] = field(default_factory=dict)

    def with_head(self, head: str, record_sha256: str) -> "Manifest":
        """Return the manifest with one more head."""
        return replace(self, heads={**self.heads, head: record_sha256})

    def with_rejection(self, head: str, rejection: Rejection) -> "Manifest":
        """Return the manifest with one more rejected head."""
        return replace(self, rejected={**self.rejected, head: rejection})

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest's file: it stands for every byte of the subset."""
        return hashlib.sha256(_text(self).encode()).hexdigest()


def _text(manifest: Manifest) -> str:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "subset": manifest.subset,
        "recipe": manifest.recipe,
        "heads": dict(sorted(manifest.heads.items())),
        "rejected": {
            head: plain_rejection(rejection)
            for head, rejection in sorted(manifest.rejected.items())
        },
    }
    return json.dumps(content, indent=1) + "\n"


def write_manifest(subset_folder: Path, manifest: Manifest) -> None:
    """Write ``MANIFEST.json``; equal manifests give equal bytes."""
    with atomic_path(subset_folder / MANIFEST) as temporary:
        temporary.write_text(_text(manifest), encoding="utf-8")


def read_manifest(subset_folder: Path) -> Manifest:
    """Read ``MANIFEST.json``.

    Raises:
        FormatError: damaged, of another kind or version, or about another subset than the folder's.
        DataError: an id that is no name of a folder.
        OSError: the file can't be opened.
    """
    top = read_json_object(subset_folder / MANIFEST)
    if top.values.get("format") != FORMAT:
        top.refuse("format", repr(FORMAT))
    if top.values.get("version") != VERSION:
        top.refuse("version", f"{VERSION}; a newer release may have written it")
    if top.text("subset") != subset_folder.name:
        top.refuse("subset", f"{subset_folder.name!r}, the name of the folder")
    for key in ("recipe", "heads"):
        if not isinstance(top.values.get(key), dict):
            top.refuse(key, "an object")
    heads = top.values["heads"]
    for head, digest in heads.items():
        checked_id(head, f"{top.path}: head id")
        if not (isinstance(digest, str) and len(digest) == 64):
            top.refuse("heads", "a SHA-256 of 64 hexadecimal digits for each head")
    return Manifest(
        subset=checked_subset(top.text("subset")),
        recipe=top.values["recipe"],
        heads=heads,
        rejected=read_rejections(top, "rejected"),
    )


def check_same_recipe(manifest: Manifest, recipe: Mapping[str, Any], folder: Path) -> None:
    """Raise `DataError` if a subset that is already there was made by another recipe."""
    stored, wanted = (json.loads(json.dumps(value)) for value in (manifest.recipe, recipe))
    for key in sorted({*stored, *wanted}):
        if stored.get(key) != wanted.get(key):
            raise DataError(
                f"{folder}: was built with {key} = {json.dumps(stored.get(key))}, and now "
                f"{json.dumps(wanted.get(key))} is asked for; ask for the same, or build into "
                "another folder"
            )
