"""Meshes, turntables and planes, looked at from the protocol's cameras."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from a3d_bench.errors import BenchError
from a3d_bench.methods.avatars import FixedViews, NoView, PlaneAvatar
from a3d_bench.methods.conformance import probe_head
from a3d_bench.methods.job import Job
from a3d_bench.methods.mesh import read_mesh
from a3d_bench.methods.outputs import harvest
from any3davatar.core import Cameras, Similarity
from any3davatar.core.rigs import orbit, turntable
from any3davatar.io import read_png, write_cameras, write_mp4
from any3davatar.render import render
from tests.bench.method_examples import method_of

trimesh = pytest.importorskip("trimesh")
SIZE = 48
WHITE = torch.ones(3)


def cameras(*azimuths: float) -> Cameras:
    return orbit(list(azimuths), [0.0] * len(azimuths), size_px=SIZE, vertical_fov_deg=24.0)


def colored_box() -> Any:
    """Return a box whose right half (our +x, the subject's left) is blue, the other red."""
    box = trimesh.creation.box((0.4, 0.5, 0.3)).subdivide()
    blue = box.vertices[:, 0] > 0
    colors = np.where(blue[:, None], [0, 0, 255, 255], [255, 0, 0, 255]).astype(np.uint8)
    box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=colors)
    return box


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_a_mesh_is_seen_from_the_right_side(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mesh.{suffix}"
    colored_box().export(path)
    avatar = read_mesh(path, Similarity.identity())
    views = avatar.render(cameras(0.0, 90.0, -90.0), WHITE)
    front, left, right = (views.rgb[i, :, SIZE // 2, SIZE // 2 - 6] for i in range(3))
    assert (front[0] > 0.5, left[2] > 0.9, right[0] > 0.9) == (True, True, True)
    # The subject's left is on the right of the front view.
    assert views.rgb[0, 2, SIZE // 2, SIZE // 2 + 6] > views.rgb[0, 0, SIZE // 2, SIZE // 2 + 6]


def test_a_mesh_covers_what_its_projected_outline_covers(tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    box = trimesh.creation.box((0.4, 0.5, 0.3))
    box.export(path)
    camera = cameras(0.0)
    alpha = read_mesh(path, Similarity.identity()).render(camera, WHITE).alpha[0, 0]
    corners, _ = camera.project(torch.tensor(box.vertices, dtype=torch.float32)[None])
    # The near face is the outline; its area in pixels, against counted coverage.
    near = corners[0][torch.tensor(box.vertices[:, 2] > 0)]
    width, height = (near.amax(0) - near.amin(0)).tolist()
    # Two samples along each side of a pixel: at most half a pixel along the edge is off.
    assert abs(float(alpha.sum()) - width * height) < 0.5 * (width + height)


def test_a_textured_mesh_keeps_its_texture_upright(tmp_path: Path) -> None:
    from PIL import Image

    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:32] = [0, 255, 0]  # the upper half of the picture is green
    quad = trimesh.Trimesh(
        [[-0.3, -0.3, 0], [0.3, -0.3, 0], [0.3, 0.3, 0], [-0.3, 0.3, 0]], [[0, 1, 2], [0, 2, 3]]
    )
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(image))
    quad.visual = trimesh.visual.TextureVisuals(
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material
    )
    path = tmp_path / "quad.glb"
    quad.export(path)
    rgb = read_mesh(path, Similarity.identity()).render(cameras(0.0), WHITE).rgb[0]
    middle = SIZE // 2
    assert rgb[:, middle - 8, middle].tolist() == pytest.approx([0, 1, 0], abs=0.01)
    assert rgb[:, middle + 8, middle].tolist() == pytest.approx([0, 0, 0], abs=0.01)


def test_a_mesh_does_not_read_files_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.mtl").write_text("newmtl x\nKd 1 0 0\n")
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "a.obj").write_text(
        "mtllib ../secret.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl x\nf 1 2 3\n"
    )
    avatar = read_mesh(folder / "a.obj", Similarity.identity())
    outside = avatar.parts[0].colors[0]
    (folder / "a.obj").write_text((folder / "a.obj").read_text().replace("../", ""))
    (tmp_path / "secret.mtl").rename(folder / "secret.mtl")
    beside = read_mesh(folder / "a.obj", Similarity.identity()).parts[0].colors[0]
    red = torch.tensor([1.0, 0.0, 0.0])
    assert (beside.equal(red), outside.equal(red)) == (True, False)


@pytest.mark.parametrize("content", [b"", b"glTF", b"ply\n", b"v 0 0 0\n", b"f 1 2 3\n"])
@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_a_file_that_is_no_mesh_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=f"bad.{suffix}: "):
        read_mesh(path, Similarity.identity())


def test_a_plane_is_the_picture_itself_from_where_it_was_taken() -> None:
    camera = cameras(20.0)
    views = render(probe_head(), camera, torch.zeros(3))
    straight = (views.rgb / views.alpha.clamp_min(1e-6)).clamp(0, 1)[0]
    plane = PlaneAvatar(straight, views.alpha[0], camera[0])
    again = plane.render(camera, torch.zeros(3))
    # Bilinear sampling at pixel centres: what is left is float32 in the projection.
    assert float((again.rgb - views.rgb.clamp(0, 1)).abs().max()) < 2e-3


def test_a_plane_shows_its_back_the_other_way_round_and_is_never_blank() -> None:
    red_left = torch.zeros(3, SIZE, SIZE)
    red_left[0, :, : SIZE // 2] = 1
    plane = PlaneAvatar(red_left, torch.ones(1, SIZE, SIZE), cameras(0.0)[0])
    views = plane.render(cameras(180.0, 90.0, -90.0), WHITE)
    back = views.rgb[0, 0, SIZE // 2]
    assert back[: SIZE // 2 - 2].max() < 0.01 < 0.99 < back[SIZE // 2 + 2 :].min()
    assert (views.alpha[1:].sum(dim=(1, 2, 3)) > SIZE / 2).all()


def test_a_portrait_without_a_camera_stands_straight_ahead() -> None:
    plane = PlaneAvatar(torch.rand(3, SIZE, SIZE), torch.ones(1, SIZE, SIZE), None)
    known = PlaneAvatar(plane.straight_rgb, plane.alpha, cameras(0.0)[0])
    look = cameras(30.0)
    assert torch.allclose(plane.render(look, WHITE).rgb, known.render(look, WHITE).rgb, atol=1e-5)


def _frames(path: Cameras) -> dict[int, torch.Tensor]:
    return dict(enumerate(render(probe_head(), path, WHITE).rgb.clamp(0, 1)))


def test_a_frame_of_another_field_of_view_is_evened_out() -> None:
    path = turntable(8, size_px=96, radius=3.5, vertical_fov_deg=30.0)
    avatar = FixedViews(_frames(path), path, WHITE, tolerance_deg=3.0)
    camera = cameras(45.0)
    shown = avatar.view(camera[0], WHITE).rgb
    wanted = render(probe_head(), camera, WHITE).rgb[0].clamp(0, 1)
    # Exact on the plane through the centre; the rest is perspective and two resamplings.
    assert float((shown - wanted).square().mean()) < 2e-3
    with pytest.raises(NoView, match=r"22\.5 degrees away; at most 3"):
        avatar.view(cameras(22.5)[0], WHITE)


def test_a_turntable_gives_the_views_it_has(tmp_path: Path) -> None:
    path = turntable(16, size_px=96, vertical_fov_deg=24.0)
    out = tmp_path / "given" / "head"
    out.mkdir(parents=True)
    write_mp4(out / "turntable.mp4", _frames(path).values(), crf=4)
    write_cameras(out / "turntable.json", path, [f"{i:03d}" for i in range(16)])
    asked = cameras(0.0, 90.0, 100.0)
    job = _job(tmp_path / "job", asked)
    method = method_of(
        tmp_path, output="video", runner={"kind": "external", "folder": str(tmp_path / "given")}
    )
    found = harvest(method, job, tmp_path / "given", tmp_path / "prediction")
    assert found.views == [0, 1]
    assert "missing: the nearest frame" in found.notes["view_002"]
    around = [22.5 * i for i in range(16)]
    candidates = render(probe_head(), cameras(*around), WHITE).rgb.clamp(0, 1)
    for view, frame in ((0, 0), (1, 4)):
        shown = read_png(tmp_path / "prediction" / "views" / f"{view:03d}.png")[0]
        assert int((candidates - shown).square().mean(dim=(1, 2, 3)).argmin()) == frame

    (out / "turntable.json").write_text(json.dumps({"frames": []}))
    with pytest.raises(BenchError, match=r"turntable\.mp4: "):
        harvest(method, job, tmp_path / "given", tmp_path / "other")
    (out / "turntable.json").unlink()
    with pytest.raises(BenchError, match="cameras of its frames are missing"):
        harvest(method, job, tmp_path / "given", tmp_path / "other")


def _job(folder: Path, asked: Cameras) -> Job:
    folder.mkdir()
    names = tuple(f"v{i}" for i in range(len(asked)))
    write_cameras(folder / "cameras.json", asked, names)
    return Job(
        folder, "head", "head", names, 0, asked.width, asked.height, (1.0, 1.0, 1.0),
        shows_alpha=False, shows_camera=False, shows_truth=False,
    )  # fmt: skip
