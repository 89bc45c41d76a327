"""Reading a data set: everything is listed at once, pictures are opened when they are asked for.

`AnyHead` holds the records of the heads (some kilobytes each), never a picture. A group becomes a
`HeadCapture`: cameras, an input view, and files that know their digest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from any3davatar.anyhead import layout
from any3davatar.anyhead.camera_parameters import read_camera_parameters
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.manifest import read_manifest
from any3davatar.anyhead.pictures import read_view
from any3davatar.anyhead.records import GroupRecord, HeadRecord, read_record, sha256_of
from any3davatar.anyhead.review import read_review
from any3davatar.anyhead.splits import Split, read_splits
from any3davatar.core import Cameras, Views
from any3davatar.io import FormatError


@dataclass(frozen=True)
class PictureFile:
    """A view on disk.

    Attributes:
        path: the PNG.
        sha256: its digest when it was built.
    """

    path: Path
    sha256: str

    def read(self) -> Views:
        """Return the view: straight colour and alpha.

        Raises:
            FormatError: damaged, or without alpha.
            OSError: the file can't be opened.
        """
        return read_view(self.path)

    def read_verified(self) -> Views:
        """Return the view; raise `FormatError` if the file is not the one that was built."""
        if sha256_of(self.path) != self.sha256:
            raise FormatError(
                f"{self.path}: its SHA-256 is not the recorded one; the file was changed after the "
                "build. Delete the head's folder and build again"
            )
        return self.read()


@dataclass(frozen=True, eq=False)
class HeadCapture:
    """One group, as a method or a loss sees it.

    Attributes:
        id: ``{subset}/{head}/{group}``, or ``{subset}/{head}``.
        subject: who is seen; splits go by it.
        subset: name of the subset's folder.
        input_view: index of the frontal view that a single-image method is given.
        cameras: (V,) cameras.
        pictures: V files.
        accessories: kinds of what is worn.
        stylised: whether it shows something else than a photograph would.
        attributes: the group's attributes, as JSON.
    """

    id: str
    subject: str
    subset: str
    input_view: int
    cameras: Cameras
    pictures: tuple[PictureFile, ...]
    accessories: tuple[str, ...]
    stylised: bool
    attributes: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.pictures)

    def views(self, *indices: int) -> Views:
        """Read some views, all by default; (V, ...)."""
        chosen = [self.pictures[i].read() for i in indices or range(len(self))]
        return Views(torch.stack([v.rgb for v in chosen]), torch.stack([v.alpha for v in chosen]))


@dataclass(frozen=True)
class GroupEntry:
    """A group that a data set lists.

    Attributes:
        folder: where its files are.
        record: its record.
        head: the record of its head.
    """

    folder: Path
    record: GroupRecord
    head: HeadRecord

    @property
    def id(self) -> str:
        """``{subset}/{head}/{group}``, or ``{subset}/{head}``."""
        parts = (self.head.subset, self.head.head_id, self.record.id)
        return "/".join(part for part in parts if part is not None)

    def capture(self) -> HeadCapture:
        """Read the cameras and return the group as a capture.

        Raises:
            FormatError: the camera file is damaged, or lists other views than the record.
            OSError: it can't be opened.
        """
        path = self.folder / layout.CAMERA_PARAMETERS
        rig = read_camera_parameters(path)
        expected = tuple(f"{layout.view_id(v)}.png" for v in range(len(rig)))
        if self.record.pictures != expected:
            raise FormatError(
                f"{path}: got cameras of {len(rig)} views, but {layout.HEAD_RECORD} lists "
                f"{len(self.record.pictures)} pictures; restore the file"
            )
        return HeadCapture(
            id=self.id,
            subject=self.head.subject,
            subset=self.head.subset,
            input_view=rig.input_view,
            cameras=rig.cameras,
            pictures=tuple(
                PictureFile(self.folder / name, self.record.files[name])
                for name in self.record.pictures
            ),
            accessories=self.record.accessories,
            stylised=self.record.stylised,
            attributes=self.record.attributes,
        )


class AnyHead:
    """A data set on disk, listed by its manifests.

    Attributes:
        root: the folder above the subsets.
        heads: records of all heads that the manifests list.
        groups: their groups; those that a person rejected (``REVIEW.json``) only on request.
    """

    def __init__(
        self, root: Path, *, split: Split | None = None, with_rejected: bool = False
    ) -> None:
        """List a data set.

        Args:
            root: the folder above the subsets.
            split: list only the subjects of this split of ``SPLITS.json``.
            with_rejected: list groups too that a person rejected.

        Raises:
            DataError: no data set is there, or a subject has no split.
            FormatError: a manifest, record, review or split file is damaged.
            OSError: one of them can't be opened.
        """
        self.root = root
        subjects = None if split is None else read_splits(root).subjects
        self.heads: list[HeadRecord] = []
        self.groups: list[GroupEntry] = []
        for subset in layout.subsets_in(root):
            rejected = frozenset() if with_rejected else read_review(root / subset).rejected
            for head in sorted(read_manifest(root / subset).heads):
                record = read_record(layout.head_folder(root, subset, head))
                if subjects is not None and record.subject not in subjects:
                    raise DataError(
                        f"{root}: {record.subject} has no split; run `any3davatar data split`"
                    )
                if subjects is None or subjects[record.subject] == split:
                    self.heads.append(record)
                    self.groups += [g for g in _entries(root, record) if g.id not in rejected]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> HeadCapture:
        return self.groups[index].capture()

    def __iter__(self) -> Iterator[HeadCapture]:
        return (group.capture() for group in self.groups)


def _entries(root: Path, record: HeadRecord) -> list[GroupEntry]:
    return [
        GroupEntry(
            layout.group_folder(root, record.subset, record.head_id, group.id), group, record
        )
        for group in record.groups
    ]
