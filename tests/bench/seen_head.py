"""A head that is a face: its surface is the truth, the same a little off is the prediction."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from a3d_bench.names import slug
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.store import CaptureRow, RunFolder, ViewRow
from a3d_bench.types import Prediction, stratum_of
from any3davatar.anyhead import people
from any3davatar.anyhead.heads.assets import AssetsUnavailable
from any3davatar.core import Cameras, Gaussians, Similarity, Views
from any3davatar.core.images import straight_rgb
from any3davatar.core.rigs import angles_of, orbit
from any3davatar.core.sh import rgb_to_sh0
from any3davatar.io import write_cameras, write_ply, write_png
from any3davatar.render import render
from tests.at_hand import missing

SIZE_PX = 128
SURFACE_PX = 128  # of the pictures that Gaussians are made of, one a pixel
FOV_DEG = 32.0
AZIMUTHS_DEG = [-157.5 + 22.5 * i for i in range(16)]
ELEVATIONS_DEG = [10.0 if i % 2 else -10.0 for i in range(16)]
WHITE = torch.ones(3)


def rules() -> Protocol:
    """Return a protocol of the size that the heads are drawn at."""
    return load_protocol("smoke", [f"picture.size_px={SIZE_PX}"])


def rig(size_px: int = SIZE_PX) -> Cameras:
    """Return 16 cameras around the head: 0 degrees is view 7, its neighbours 6 and 8."""
    return orbit(AZIMUTHS_DEG, ELEVATIONS_DEG, size_px=size_px, vertical_fov_deg=FOV_DEG)


@lru_cache(maxsize=2)
def _drawer(seed: int) -> Callable[[Cameras], Views]:
    try:
        return people.drawer(people.person(seed), 1)
    except AssetsUnavailable as error:
        missing("the head assets", error)


@lru_cache(maxsize=4)
def surface(seed: int = 7) -> Gaussians:
    """Return Gaussians on the visible surface of a person: the head that truth shows."""
    cameras = rig(SURFACE_PX)
    views = _drawer(seed)(cameras)
    assert views.depth is not None
    origins, directions = cameras.rays()
    forward = cameras.world_to_camera[:, 2, :3]
    along = views.depth[:, 0] / (directions * forward[:, None, None]).sum(-1)
    points = origins + along[..., None] * directions
    solid = views.alpha[:, 0] > 0.95
    means = points[solid][::2]
    colors = views.rgb.movedim(1, -1)[solid][::2]
    size = 0.55 * 2 * math.tan(math.radians(FOV_DEG / 2)) * 2.7 / SURFACE_PX
    quats = torch.zeros(len(means), 4)
    quats[:, 0] = 1
    return Gaussians(
        means=means,
        quats=quats,
        scales=torch.full((len(means), 3), size),
        opacities=torch.full((len(means),), 0.6),
        sh=rgb_to_sh0(colors),
    )


@lru_cache(maxsize=4)
def guess(seed: int = 7) -> Gaussians:
    """Return the same head as a method would have it: every Gaussian a little off."""
    head = surface(seed)
    g = torch.Generator().manual_seed(seed)
    return replace(
        head,
        means=head.means + 0.003 * torch.randn(head.means.shape, generator=g),
        sh=head.sh + 0.15 * torch.randn(head.sh.shape, generator=g),
    )


@lru_cache(maxsize=4)
def drawn(seed: int = 7) -> Views:
    """Return true views, colour over white."""
    return render(surface(seed), rig(), WHITE)


def truth_pictures(seed: int = 7) -> Tensor:
    """Return the truth over white."""
    return drawn(seed).rgb.clamp(0, 1)


def rendered(similarity: Similarity | None = None, seed: int = 7) -> Tensor:
    """Return what a method that moved the head by a similarity draws."""
    gaussians = guess(seed)
    moved = gaussians if similarity is None else similarity.apply_to_gaussians(gaussians)
    return render(moved, rig(), WHITE).rgb.clamp(0, 1)


def billboard(pictures: Tensor) -> Tensor:
    """Return the frontal picture on a plane that the cameras go around, its other face behind."""
    width = torch.cos(torch.tensor(AZIMUTHS_DEG).deg2rad())
    narrow = torch.diag(torch.ones(2)).repeat(len(pictures), 1, 1)
    narrow[:, 0, 0] = 1 / torch.where(width.abs() < 0.2, 0.2, width)  # edge-on it would be blank
    grid = F.affine_grid(F.pad(narrow, (0, 1)), list(pictures.shape), align_corners=False)
    front = 1 - pictures[7].expand_as(pictures)
    return 1 - F.grid_sample(front, grid, align_corners=False)


def turned(degrees: float, axis: tuple[float, float, float]) -> Tensor:
    """Return a rotation."""
    unit = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float32), dim=0)
    x, y, z = (math.radians(degrees) * unit).tolist()
    return torch.matrix_exp(torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))


def write_seen_run(path: Path, seed: int = 7) -> tuple[RunFolder, CaptureRow]:
    """Write a run of one capture, without predictions."""
    run, protocol = RunFolder(path), rules()
    run.write_protocol(protocol)
    run.write_run({"methods": {}})
    views, cameras = drawn(seed), rig()
    azimuths, elevations = angles_of(cameras.centers)
    id_ = f"made/head-{seed}"
    rows: list[ViewRow] = []
    for v in range(len(cameras)):
        file = run.truth_path(slug(id_), v)
        file.parent.mkdir(parents=True, exist_ok=True)
        straight = straight_rgb(views.rgb[v].clamp(0, 1), views.alpha[v], WHITE)
        write_png(file, straight, views.alpha[v])
        azimuth, elevation = float(azimuths[v]), float(elevations[v])
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(ViewRow(f"{v:03d}", azimuth, elevation, stratum_of(azimuth), digest))
    row = CaptureRow(id_, slug(id_), f"head-{seed}", "made", 7, {}, {}, tuple(rows))
    run.write_captures([row])
    cameras_path = run.cameras_path(row.slug)
    cameras_path.parent.mkdir(parents=True, exist_ok=True)
    write_cameras(cameras_path, cameras, [view.name for view in rows])
    return run, row


def write_method(
    run: RunFolder,
    row: CaptureRow,
    method: str,
    pictures: Tensor,
    gaussians: Gaussians | None = None,
    change: Callable[[Path], None] | None = None,
) -> None:
    """Write a method's prediction: pictures, Gaussians if there are, and then any change."""
    folder = run.capture_folder("predictions", method, row.slug)
    (folder / "views").mkdir(parents=True)
    files: dict[str, str] = {}
    for v, picture in enumerate(pictures):
        file = run.view_path(method, row.slug, v)
        write_png(file, picture)
        files[f"views/{v:03d}.png"] = hashlib.sha256(file.read_bytes()).hexdigest()
    if gaussians is not None:
        write_ply(folder / "gaussians.ply", gaussians)
    if change is not None:
        change(folder / "views")
    prediction = Prediction(rules().digest, method, row.id, row.subject, "ok", "", files)
    run.write_prediction(row.slug, prediction)
