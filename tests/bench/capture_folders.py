"""Small folders of every kind that the harness reads, written from scratch."""

import json
from pathlib import Path

import torch

from any3davatar.anyhead import layout
from any3davatar.anyhead.camera_parameters import write_camera_parameters
from any3davatar.anyhead.manifest import Manifest, write_manifest
from any3davatar.anyhead.pictures import write_view
from any3davatar.anyhead.records import (
    GroupRecord,
    HeadRecord,
    hashes_of,
    sha256_of,
    write_record,
)
from any3davatar.anyhead.rigs import make_rig
from any3davatar.core import Cameras, Similarity, intrinsics_from_fov
from any3davatar.core.rigs import direction, look_at
from any3davatar.io import write_mp4, write_png

# Yaw, elevation and distance (m) of NeRSemble's cameras around one participant, by serial number.
NERSEMBLE_RIG = {
    "222200042": (45.6, 15.0, 1.08), "222200044": (45.0, -16.6, 1.14),
    "222200046": (25.7, 14.6, 1.15), "222200040": (25.3, -15.3, 1.21),
    "222200036": (15.0, 12.5, 1.19), "222200048": (14.5, -16.5, 1.26),
    "220700191": (4.7, 12.9, 1.15), "222200041": (4.6, -16.8, 1.23),
    "222200037": (-6.3, 12.9, 1.16), "222200038": (-6.3, -16.6, 1.24),
    "222200047": (-16.0, 12.5, 1.21), "222200043": (-16.3, -16.0, 1.28),
    "222200049": (-27.1, 14.5, 1.18), "222200039": (-27.5, -14.8, 1.24),
    "222200045": (-46.6, -15.6, 1.20), "221501007": (-47.0, 14.9, 1.13),
}  # fmt: skip
NERSEMBLE_SIZE = (110, 160)  # a twentieth of 2200 x 3208, even
NERSEMBLE_FRAMES = 3


def disc(size_px: int, shade: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a shaded disc: straight colour, and alpha with a soft edge."""
    y, x = torch.meshgrid(torch.arange(size_px), torch.arange(size_px), indexing="ij")
    radius = torch.hypot(x + 0.5 - size_px / 2, y + 0.5 - size_px / 2)
    alpha = (size_px * 0.3 - radius).clamp(0, 1)[None]
    rgb = torch.stack([x / size_px, y / size_px, torch.full_like(x / 1.0, shade)])
    return rgb * (alpha > 0), alpha


def write_anyhead(
    root: Path,
    heads: dict[str, list[str | None]],
    *,
    subset: str = layout.DIGITAL_HUMAN,
    size_px: int = 48,
    rig: str = "turntable8",
    recipe: dict[str, object] | None = None,
) -> None:
    """Write a subset whose pictures are discs: groups by head id."""
    folder = root / subset
    manifest = Manifest(subset, recipe or {"kind": "discs"})
    for number, (head, groups) in enumerate(heads.items()):
        records = []
        for group in groups:
            place = layout.group_folder(root, subset, head, group)
            place.mkdir(parents=True)
            cameras = make_rig(rig, size_px, 0)
            for v in range(len(cameras)):
                shade = (number + v / len(cameras)) / len(heads)
                write_view(place / f"{layout.view_id(v)}.png", *disc(size_px, shade))
            write_camera_parameters(place / layout.CAMERA_PARAMETERS, cameras)
            worn = ("glasses",) if subset == layout.ACCESSORY_RICH else ()
            words = {"expression": "a broad smile"}
            records.append(
                GroupRecord(group, {"words": words}, worn, group is None, {}, hashes_of(place))
            )
        record = HeadRecord(subset, head, head, number, {}, tuple(records))
        write_record(folder / head, record)
        manifest = manifest.with_head(head, sha256_of(folder / head / layout.HEAD_RECORD))
    write_manifest(folder, manifest)


def nersemble_world() -> Similarity:
    """Return the map from a head-aligned world (metres) to the one that the files are in."""
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    ).Q
    turn = turn * torch.linalg.det(turn)
    return Similarity(1.0, turn.float(), torch.tensor([0.3, -0.1, 0.8]))


def nersemble_cameras() -> Cameras:
    """Return the rig's cameras, full size, in the head-aligned world: all look at the origin."""
    width, height = 2200, 3208
    K = intrinsics_from_fov(22.2, width, height, torch.float64)
    centers = torch.stack([d * direction(a, e) for a, e, d in NERSEMBLE_RIG.values()])
    up = torch.tensor([0.0, 1.0, 0.0])
    return look_at(centers, torch.zeros(3), up, K, width, height)


def write_nersemble(
    root: Path,
    participant: str,
    sequence: str,
    *,
    serials: tuple[str, ...] = tuple(NERSEMBLE_RIG),
    with_alpha: bool = True,
    one_matrix: bool = True,
    correction: torch.Tensor | None = None,
) -> None:
    """Write a participant: frame f of each video is grey of level (f + 1) / 4."""
    folder = root / participant
    (folder / "calibration").mkdir(parents=True)
    cameras = nersemble_world().apply_to_cameras(nersemble_cameras())
    poses = dict(zip(NERSEMBLE_RIG, cameras.world_to_camera.tolist(), strict=True))
    K = cameras.K[0].tolist()
    calibration = {
        "world_2_cam": poses,
        "intrinsics": K if one_matrix else dict.fromkeys(NERSEMBLE_RIG, K),
    }
    (folder / "calibration" / "camera_params.json").write_text(json.dumps(calibration))
    matrix = torch.eye(3) if correction is None else correction
    (folder / "calibration" / "color_calibration.json").write_text(
        json.dumps(dict.fromkeys(NERSEMBLE_RIG, matrix.tolist()))
    )
    width, height = NERSEMBLE_SIZE
    for what in ("images", "alpha_maps") if with_alpha else ("images",):
        videos = folder / "sequences" / sequence / what
        videos.mkdir(parents=True)
        levels = [(f + 1) / 4 if what == "images" else 1.0 for f in range(NERSEMBLE_FRAMES)]
        frames = [torch.full((3, height, width), level) for level in levels]
        for serial in serials:
            write_mp4(videos / f"cam_{serial}.mp4", frames, crf=0)


def write_transforms(
    folder: Path,
    cameras: Cameras,
    *,
    with_alpha: bool = False,
    with_masks: bool = False,
) -> None:
    """Write ``transforms.json`` and pictures of a disc."""
    (folder / "images").mkdir(parents=True)
    flip = torch.tensor([1.0, -1.0, -1.0, 1.0])
    frames = []
    for v in range(len(cameras)):
        rgb, alpha = disc(cameras.width, v / len(cameras))
        write_png(folder / "images" / f"{v}.png", rgb, alpha if with_alpha else None)
        frame = {
            "file_path": f"images/{v}.png",
            "transform_matrix": (cameras.camera_to_world[v] * flip).tolist(),
        }
        if with_masks:
            write_png(folder / "images" / f"mask_{v}.png", alpha.expand(3, -1, -1))
            frame["mask_path"] = f"images/mask_{v}.png"
        frames.append(frame)
    K = cameras.K[0]
    content = {
        "w": cameras.width,
        "h": cameras.height,
        "fl_x": float(K[0, 0]),
        "fl_y": float(K[1, 1]),
        "cx": float(K[0, 2]),
        "cy": float(K[1, 2]),
        "frames": frames,
    }
    (folder / "transforms.json").write_text(json.dumps(content))
