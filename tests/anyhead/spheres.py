"""A subset of ellipsoids with one ear and perhaps a hat: real heads for the suite, in milliseconds.

As a program, it builds such a subset: ``python -m tests.anyhead.spheres ROOT HEADS WORKERS``.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from any3davatar.anyhead import layout
from any3davatar.anyhead.build import build
from any3davatar.anyhead.camera_parameters import write_camera_parameters
from any3davatar.anyhead.errors import Rejected
from any3davatar.anyhead.pictures import write_views
from any3davatar.anyhead.records import GroupRecord, HeadRecord, hashes_of
from any3davatar.anyhead.rigs import make_rig
from any3davatar.core import Cameras, Views

Sphere = tuple[tuple[float, float, float], float, tuple[float, float, float]]

HAT: Sphere = ((0.0, 0.42, 0.0), 0.26, (0.9, 0.1, 0.1))


def head_of(seed: int) -> list[Sphere]:
    g = torch.Generator().manual_seed(seed)
    size, ear, *color = torch.rand(5, generator=g).tolist()
    skin = (0.2 + 0.8 * color[0], 0.2 + 0.8 * color[1], 0.2 + 0.8 * color[2])
    return [
        ((0.0, 0.0, 0.0), 0.35 + 0.1 * size, skin),
        ((0.5 + 0.1 * ear, 0.1, 0.0), 0.15, (0.2, 0.6, 0.3)),  # on the subject's left only
        ((0.0, -0.1, 0.5), 0.13, (0.7, 0.3, 0.2)),  # a nose
        ((0.1, -0.55, -0.2), 0.3, (0.3, 0.3, 0.8)),  # a chest
    ]


def draw(spheres: list[Sphere], cameras: Cameras) -> Views:
    """Ray-cast spheres: straight colour, alpha 0 or 1, depth."""
    origins, directions = cameras.rays()
    forward = cameras.world_to_camera[:, None, None, 2, :3]
    nearest = torch.full(directions.shape[:-1], torch.inf)
    rgb = torch.zeros_like(directions)
    for center, radius, color in spheres:
        middle = torch.tensor(center)
        offset = origins - middle
        along = (offset * directions).sum(-1)
        inside = along**2 - (offset**2).sum(-1) + radius**2
        distance = -along - inside.clamp_min(0).sqrt()
        hit = (inside > 0) & (distance > 0) & (distance < nearest)
        normals = (origins + directions * distance[..., None] - middle) / radius
        shade = 0.6 + 0.4 * normals[..., 1:2]
        rgb = torch.where(hit[..., None], torch.tensor(color) * shade, rgb)
        nearest = torch.where(hit, distance, nearest)
    alpha = nearest.isfinite()
    depth = torch.where(alpha, nearest, 0) * (directions * forward).sum(-1)
    return Views(rgb.movedim(-1, -3), alpha[:, None].float(), depth[:, None])


@dataclass(frozen=True)
class SphereHeads:
    size_px: int = 24
    rig: str = "digital6"
    rejects: tuple[int, ...] = ()
    subset: str = layout.DIGITAL_HUMAN

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "spheres", **asdict(self)}

    def readme(self) -> str:
        return "# Spheres\n"

    def head_id(self, seed: int) -> str:
        return layout.head_id("dh", seed)

    def build(self, seed: int, folder: Path) -> HeadRecord:
        if seed in self.rejects:
            raise Rejected("it is too round", {"roundness": 1.0})
        groups = []
        rig = make_rig(self.rig, self.size_px, seed)
        for name, worn in (("bare", ()), ("hat", (HAT,))):
            (folder / name).mkdir()
            views = draw([*head_of(seed), *worn], rig.cameras)
            write_views(folder / name, views.rgb, views.alpha)
            write_camera_parameters(folder / name / layout.CAMERA_PARAMETERS, rig)
            files = hashes_of(folder / name)
            kinds = ("hat",) if worn else ()
            groups.append(GroupRecord(name, {"worn": len(worn)}, kinds, False, {}, files))
        head = self.head_id(seed)
        return HeadRecord(self.subset, head, head, seed, {}, tuple(groups))


def contents(root: Path) -> dict[str, bytes]:
    """Return every file of a data set, the build's own left out."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and layout.BUILD_FOLDER not in path.parts
    }


if __name__ == "__main__":
    print("begins", flush=True)  # noqa: T201
    build(
        Path(sys.argv[1]),
        SphereHeads(),
        list(range(int(sys.argv[2]))),
        workers=int(sys.argv[3]),
        on_head=lambda head: print(head, flush=True),  # noqa: T201
    )
