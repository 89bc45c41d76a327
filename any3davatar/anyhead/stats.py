"""The row of the paper's table 6, and more, counted from a data set's own folders."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead import layout
from any3davatar.anyhead.camera_parameters import read_camera_parameters
from any3davatar.anyhead.readers import AnyHead
from any3davatar.core import Cameras
from any3davatar.core.rigs import angles_of

FULL_HEAD_GAP_DEG = 90.0  # a head is seen all round if no wider gap is left between cameras
DETAIL_FACTOR = 0.5  # a detailed view shows the head at this share of the usual pixel, or finer


@dataclass(frozen=True)
class Statistics:
    """What a data set holds.

    Attributes:
        identities: different subjects.
        accessory: somebody wears something.
        full_head: every group is seen all round, from the back too.
        camera_views: views of the group that has most.
        stylised_head: some group shows something else than a photograph would.
        detailed_view: some view shows the head at least twice as large as its group usually does.
        heads: heads of each subset.
        groups: groups of all subsets, without those rejected by hand.
        pictures: views of all groups.
        sizes_px: widths of the pictures, with the number of groups.
        bytes: size of all recorded files that are there.
        accessory_kinds: groups that show each kind of accessory.
    """

    identities: int
    accessory: bool
    full_head: bool
    camera_views: int
    stylised_head: bool
    detailed_view: bool
    heads: dict[str, int]
    groups: int
    pictures: int
    sizes_px: dict[int, int]
    bytes: int
    accessory_kinds: dict[str, int]

    @property
    def table_row(self) -> dict[str, str]:
        """The columns of table 6, with its words and signs."""
        sign = {True: "✓", False: "✗"}
        return {
            "ID Number": str(self.identities),
            "Accessory": sign[self.accessory],
            "Full Head": sign[self.full_head],
            "Camera View": str(self.camera_views),
            "Stylized Head": sign[self.stylised_head],
            "Detailed View": sign[self.detailed_view],
        }


def statistics(root: Path) -> Statistics:
    """Count a data set; cameras are read, pictures are not.

    Raises:
        DataError, FormatError, OSError: see `any3davatar.anyhead.readers.AnyHead`.
    """
    data_set = AnyHead(root)
    full, detailed, sizes = [], [], Counter[int]()
    for group in data_set.groups:
        cameras = read_camera_parameters(group.folder / layout.CAMERA_PARAMETERS).cameras
        full.append(_sees_all_round(cameras))
        detailed.append(_has_details(cameras))
        sizes[cameras.width] += 1
    groups = data_set.groups
    return Statistics(
        identities=len({head.subject for head in data_set.heads}),
        accessory=any(group.record.accessories for group in groups),
        full_head=bool(groups) and all(full),
        camera_views=max((len(group.record.pictures) for group in groups), default=0),
        stylised_head=any(group.record.stylised for group in groups),
        detailed_view=any(detailed),
        heads=dict(Counter(head.subset for head in data_set.heads)),
        groups=len(groups),
        pictures=sum(len(group.record.pictures) for group in groups),
        sizes_px=dict(sorted(sizes.items())),
        bytes=sum(
            (group.folder / name).stat().st_size
            for group in groups
            for name in group.record.files
            if (group.folder / name).is_file()
        ),
        accessory_kinds=dict(
            sorted(Counter(kind for group in groups for kind in group.record.accessories).items())
        ),
    )


def _sees_all_round(cameras: Cameras) -> bool:
    azimuths, _ = angles_of(cameras.centers)
    turned = azimuths.sort().values
    gaps = torch.diff(turned, append=turned[:1] + 360)
    return float(gaps.max()) <= FULL_HEAD_GAP_DEG + 1e-3


def _head_per_picture(cameras: Cameras) -> Float[Tensor, "V"]:
    """Return the width of the scene at the head that a picture shows, in world units."""
    return cameras.centers.norm(dim=-1) * cameras.width / cameras.K[:, 0, 0]


def _has_details(cameras: Cameras) -> bool:
    shown = _head_per_picture(cameras)
    return bool((shown <= DETAIL_FACTOR * shown.median()).any())
