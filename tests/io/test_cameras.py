"""Camera files: poses checked against projections worked out by hand, and hostile JSON."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from any3davatar.core import Cameras, InvalidInput, intrinsics_from_fov
from any3davatar.core.rigs import orbit
from any3davatar.io import (
    FormatError,
    read_camera_file,
    read_cameras,
    read_opencv_cameras,
    read_png,
    read_transforms,
    write_cameras,
)

FACELIFT = Path(__file__).parents[2].parent / "shared" / "data" / "facelift_sample"
# A camera at (0, 0, 3) that looks along -z with y up: OpenGL's own axes, moved.
FRONT_POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]
# The same in OpenCV: y and z of the camera turned round.
FRONT_W2C = [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]]


def save(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def transforms(**changes: Any) -> dict[str, Any]:
    frames = [{"file_path": "./images/a.png", "transform_matrix": FRONT_POSE}]
    return {"fl_x": 100.0, "w": 64, "h": 48, "frames": frames} | changes


def opencv(**changes: Any) -> dict[str, Any]:
    frame = {"w": 64, "h": 48, "fx": 100, "fy": 90, "cx": 31, "cy": 23.5, "w2c": FRONT_W2C}
    return {"id": "x", "frames": [frame | {"file_path": "images/a.png"} | changes]}


def sees_the_left_ear_on_the_right(cameras: Cameras) -> None:
    """From the front, the subject's left (+x) is on the picture's right, and up is up."""
    points = torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.6, 0.0]])
    pixels, depth = cameras[0].project(points)
    fx, fy = cameras.K[0, 0, 0], cameras.K[0, 1, 1]
    cx, cy = cameras.K[0, 0, 2], cameras.K[0, 1, 2]
    expected = torch.stack([torch.stack([cx + fx * 0.1, cy]), torch.stack([cx, cy - fy * 0.2])])
    torch.testing.assert_close(pixels, expected)
    assert depth.tolist() == [3, 3]


def test_our_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cameras = orbit([0, 40, 200], [0, 10, -20], size_px=96).cropped(3, 0, 90, 64)
    names, images = ["front", "left", "behind"], ["a/0.png", "a/1.png", "a/2.png"]
    write_cameras(tmp_path / "cameras.json", cameras, names, images)
    got = read_cameras(tmp_path / "cameras.json")
    assert torch.equal(got.cameras.world_to_camera, cameras.world_to_camera)
    assert torch.equal(got.cameras.K, cameras.K)
    assert (got.cameras.width, got.cameras.height) == (90, 64)
    assert got.names == ("front", "left", "behind")
    assert got.image_paths == tuple(tmp_path / image for image in images)
    assert got.mask_paths == (None, None, None)


def test_our_schema_is_what_the_module_says(tmp_path: Path) -> None:
    K = intrinsics_from_fov(50, 64, 48)
    cameras = Cameras(torch.tensor([FRONT_W2C], dtype=torch.float32), K[None], 64, 48)
    write_cameras(tmp_path / "cameras.json", cameras, ["front"])
    assert json.loads((tmp_path / "cameras.json").read_text()) == {
        "format": "any3davatar.cameras",
        "version": 1,
        "width": 64,
        "height": 48,
        "frames": [{"name": "front", "world_to_camera": FRONT_W2C, "K": K.tolist()}],
    }
    sees_the_left_ear_on_the_right(read_cameras(tmp_path / "cameras.json").cameras)


def test_cameras_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    cameras = orbit([0, 40], [0, 10], size_px=16)
    path = tmp_path / "a.json"
    for names, images in [
        (["a"], None),
        (["a", "a"], None),
        (["a", ""], None),
        (["a", "b"], ["c"]),
    ]:
        with pytest.raises(InvalidInput, match="2 cameras need as many different, non-empty names"):
            write_cameras(path, cameras, names, images)
    with pytest.raises(InvalidInput, match=r"holds cameras \(V,\), V >= 1; got \(\)"):
        write_cameras(path, cameras[0], ["a"])
    with pytest.raises(FormatError, match=r"got the picture path '\.\./b\.png'"):
        write_cameras(path, cameras, ["a", "b"], ["a.png", "../b.png"])
    assert list(tmp_path.iterdir()) == []


def test_opencv_cameras(tmp_path: Path) -> None:
    got = read_opencv_cameras(save(tmp_path / "a.json", opencv()))
    assert got.cameras.K.tolist() == [[[100, 0, 31], [0, 90, 23.5], [0, 0, 1]]]
    assert (got.cameras.width, got.cameras.height) == (64, 48)
    assert (got.names, got.image_paths) == (("a",), (tmp_path / "images" / "a.png",))
    sees_the_left_ear_on_the_right(got.cameras)


@pytest.mark.skipif(not FACELIFT.is_dir(), reason="the FaceLift sample is not at hand")
def test_a_real_capture_of_facelift() -> None:
    got = read_opencv_cameras(FACELIFT / "opencv_cameras.json")
    assert len(got.cameras) == 32
    radii = got.cameras.centers.norm(dim=-1)
    torch.testing.assert_close(radii, torch.full((32,), 2.7), atol=1e-4, rtol=0)  # its SOURCE
    assert got.image_paths[5] == FACELIFT / "images" / "cam_005.png"
    rgb, alpha = read_png(FACELIFT / "images" / "cam_005.png")
    assert alpha is not None
    # The origin, where the head is, lies inside the silhouette of every picture's middle.
    pixels, depth = got.cameras.project(torch.zeros(32, 1, 3))
    torch.testing.assert_close(pixels[:, 0], torch.full((32, 2), 256.0), atol=0.05, rtol=0)
    assert bool((depth > 0).all())
    assert float(alpha[0, 256, 256]) == 1
    assert rgb.shape == (3, 512, 512)


def test_transforms_with_focal_length(tmp_path: Path) -> None:
    got = read_transforms(save(tmp_path / "transforms.json", transforms(fl_y=90, cx=31, cy=20)))
    assert got.cameras.K.tolist() == [[[100, 0, 31], [0, 90, 20], [0, 0, 1]]]
    assert got.cameras.world_to_camera.tolist() == [FRONT_W2C]
    assert (got.names, got.image_paths) == (("images/a",), (tmp_path / "images" / "a.png",))
    sees_the_left_ear_on_the_right(got.cameras)


def test_transforms_of_blender_with_an_angle_and_no_suffix(tmp_path: Path) -> None:
    content = {
        "camera_angle_x": 2 * math.atan(0.5),
        "frames": [{"file_path": "./train/r_0", "transform_matrix": FRONT_POSE, "rotation": 0.1}],
    }
    path = save(tmp_path / "transforms.json", content)
    with pytest.raises(FormatError, match=r"frames\[0\]\.w: got nothing, expected a whole number"):
        read_transforms(path)
    got = read_transforms(path, image_size=(800, 600))
    expected = torch.tensor([[[800.0, 0, 400], [0, 800, 300], [0, 0, 1]]])
    torch.testing.assert_close(got.cameras.K, expected)
    assert (got.names, got.image_paths) == (("train/r_0",), (tmp_path / "train" / "r_0.png",))
    sees_the_left_ear_on_the_right(got.cameras)


def test_transforms_with_intrinsics_and_masks_a_frame(tmp_path: Path) -> None:
    turned = [[0, 0, 1, 3], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]  # at +x, looks along -x
    frames = [
        {"file_path": "images/00_00.png", "fg_mask_path": "fg_masks/00_00.png", "fl_x": 100},
        {"file_path": "images/00_01.png", "mask_path": "masks/1.png", "fl_x": 110, "cx": 30.0},
    ]
    for frame, pose in zip(frames, (FRONT_POSE, turned), strict=True):
        frame |= {"transform_matrix": pose, "w": 64, "h": 48, "camera_index": 0, "k1": 0.0}
    content = {"frames": frames, "applied_transform": [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]}
    got = read_transforms(save(tmp_path / "t.json", content))
    assert got.cameras.K[:, 0, 0].tolist() == [100, 110]
    assert got.cameras.K[:, 0, 2].tolist() == [32, 30]
    torch.testing.assert_close(got.cameras.centers, torch.tensor([[0.0, 0, 3], [3, 0, 0]]))
    # From the subject's left, the face (+z) is on the picture's left.
    pixels, depth = got.cameras[1].project(torch.tensor([[0.0, 0.0, 0.3]]))
    torch.testing.assert_close(pixels, torch.tensor([[30 - 11.0, 24]]))
    assert depth.tolist() == [3]
    assert got.mask_paths == (tmp_path / "fg_masks" / "00_00.png", tmp_path / "masks" / "1.png")


TALL = {"w": 64, "h": 50, "file_path": "b.png", "transform_matrix": FRONT_POSE}
SHEARED = [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]
MIRRORED = [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]
LEANING = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 1, 1]]


def frame(**changes: Any) -> dict[str, Any]:
    return {"file_path": "a.png", "transform_matrix": FRONT_POSE} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (transforms(frames=[]), "frames: got .*, expected a list of at least one object"),
        (transforms(frames=[1]), "expected a list of at least one object"),
        (transforms(fl_x="100"), r"frames\[0\]\.fl_x: got '100', expected a finite number"),
        (transforms(fl_x=True), "got True, expected a finite number"),
        (transforms(fl_x=-1.0), "must have positive focal lengths"),
        (transforms(w=64.5), "got 64.5, expected a whole number of pixels"),
        (transforms(h=0), "got 0, expected a whole number of pixels"),
        (transforms(camera_model="OPENCV_FISHEYE"), "camera_model: got 'OPENCV_FISHEYE', expected"),
        (transforms(k1=0.01), "k1: got 0.01, expected 0: a lens without distortion"),
        ({"w": 8, "h": 8, "frames": [frame()]}, "camera_angle_x: got nothing"),
        ({"w": 8, "h": 8, "camera_angle_x": 4, "frames": [frame()]}, "got 4, expected an angle"),
        (transforms(frames=[frame(), TALL]), r"different sizes \(64 x 48, 64 x 50\)"),
        (transforms(frames=[frame(), frame()]), "two frames are named 'a'"),
        (transforms(frames=[frame(transform_matrix=FRONT_POSE[:3])]), "expected 4 rows of 4"),
        (transforms(frames=[frame(transform_matrix=SHEARED)]), "must hold rotations"),
        (transforms(frames=[frame(transform_matrix=MIRRORED)]), "must not mirror"),
        (transforms(frames=[frame(transform_matrix=LEANING)]), "end in the row 0, 0, 0, 1"),
        (transforms(frames=[frame(file_path=3)]), "file_path: got 3, expected a text"),
        ([1, 2], "got a list at the top, expected an object"),
    ],
)
def test_foreign_transforms_are_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(FormatError, match=rf"t\.json: .*{message}"):
        read_transforms(save(tmp_path / "t.json", content))


def test_a_stated_size_must_agree(tmp_path: Path) -> None:
    path = save(tmp_path / "t.json", transforms())
    assert read_transforms(path, image_size=(64, 48)).cameras.width == 64
    with pytest.raises(FormatError, match=r"different sizes \(48 x 64, 64 x 48\)"):
        read_transforms(path, image_size=(48, 64))


@pytest.mark.parametrize("image", ["/etc/passwd", "../a.png", "a/../../b.png", "C:\\a.png", "."])
def test_pictures_outside_the_folder_are_refused(tmp_path: Path, image: str) -> None:
    message = "expected one inside the file's own folder"
    with pytest.raises(FormatError, match=message):
        read_opencv_cameras(save(tmp_path / "a.json", opencv(file_path=image)))
    for key in ("file_path", "mask_path"):
        content = transforms(frames=[frame(**{key: image})])
        if (key, image) != ("file_path", "."):  # which Blender's habit makes the file "..png"
            with pytest.raises(FormatError, match=message):
                read_transforms(save(tmp_path / "t.json", content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe\xfd", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b'{"frames": [], "frames": [1]}', "the same key more than once"),
        (b'{"frames": [{"w2c": ' + b"9" * 5000 + b"}]}", "not readable as JSON"),
        (b'{"frames": [{"w": 1e999}]}', "w: got inf, expected a whole number"),
        (b'{"frames": [{"w": NaN}]}', "w: got nan, expected a whole number"),
        (b'{"frames": [{"w": ' + b"9" * 400 + b"}]}", "w: got 999"),
    ],
)
def test_hostile_json_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(FormatError, match=message):
        read_opencv_cameras(tmp_path / "a.json")


def test_any_known_kind_is_told_by_its_keys(tmp_path: Path) -> None:
    ours = read_opencv_cameras(save(tmp_path / "a.json", opencv()))
    write_cameras(tmp_path / "ours.json", ours.cameras, ours.names)
    for content in (opencv(), transforms()):
        found = read_camera_file(save(tmp_path / "b.json", content))
        sees_the_left_ear_on_the_right(found.cameras)
    again = read_camera_file(tmp_path / "ours.json")
    assert torch.equal(again.cameras.world_to_camera, ours.cameras.world_to_camera)
    unknown = save(tmp_path / "c.json", {"frames": [{"pose": FRONT_POSE}]})
    with pytest.raises(FormatError, match=r"frames with the keys pose, expected one of"):
        read_camera_file(unknown)


def test_other_kinds_and_versions_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"format: got nothing, expected 'any3davatar.cameras'"):
        read_cameras(save(tmp_path / "a.json", transforms()))
    ours = {"format": "any3davatar.cameras", "version": 2}
    with pytest.raises(FormatError, match="version: got 2, expected 1; a newer release"):
        read_cameras(save(tmp_path / "a.json", ours))
    (tmp_path / "big.json").write_bytes(b" " * ((1 << 26) + 1))
    with pytest.raises(FormatError, match="has 67108865 bytes, expected at most 67108864"):
        read_cameras(tmp_path / "big.json")
