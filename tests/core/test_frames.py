"""Each convention is checked against a formula of its own, on a scene without any symmetry.

The points lie off every axis and plane, so that a mirror, a swapped axis or a wrong sign moves
at least one pixel.
"""

import math

import pytest
import torch

from any3davatar.core import Cameras, InvalidInput, intrinsics_from_fov
from any3davatar.core.frames import (
    WORLD_FRAMES,
    cameras_from_blender,
    cameras_from_eg3d_labels,
    cameras_from_opencv,
    cameras_from_opengl,
    cameras_from_pytorch3d,
    world_from_axes,
)
from any3davatar.core.rigs import look_at, orbit

WIDTH, HEIGHT = 64, 48
POINTS = torch.tensor(
    [[0.31, 0.12, 0.45], [-0.22, 0.37, 0.08], [0.05, -0.41, -0.33], [0.5, 0.02, -0.17]],
    dtype=torch.float64,
)


def truth() -> Cameras:
    """Three cameras in nobody's special position, with an off-centre principal point."""
    centers = torch.tensor([[0.4, 0.7, 2.5], [-2.2, -0.6, 1.1], [1.3, 0.2, -2.4]]).double()
    up = torch.tensor([0.1, 1.0, 0.05]).double()
    K = intrinsics_from_fov(40, WIDTH, HEIGHT, dtype=torch.float64)
    K[0, 0], K[0, 2], K[1, 2] = 70.0, 30.0, 26.0
    return look_at(centers, torch.tensor([0.1, 0, 0]).double(), up, K, WIDTH, HEIGHT).validate()


def pixels(cameras: Cameras) -> torch.Tensor:
    return cameras.to(torch.float64).project(POINTS.expand(len(cameras), -1, -1))[0]


def assert_same_pictures(cameras: Cameras, atol: float = 1e-9) -> None:
    assert (cameras.width, cameras.height) == (WIDTH, HEIGHT)
    torch.testing.assert_close(pixels(cameras), pixels(truth()), atol=atol, rtol=0)


def opengl_poses() -> torch.Tensor:
    """OpenGL camera to world, from its definition: columns right, up, backward, centre."""
    poses = torch.zeros(3, 4, 4, dtype=torch.float64)
    world_to_camera = truth().world_to_camera
    poses[:, :3, 0] = world_to_camera[:, 0, :3]
    poses[:, :3, 1] = -world_to_camera[:, 1, :3]
    poses[:, :3, 2] = -world_to_camera[:, 2, :3]
    poses[:, :3, 3] = truth().centers
    poses[:, 3, 3] = 1
    return poses


def test_opencv_is_ours() -> None:
    assert_same_pictures(cameras_from_opencv(truth().world_to_camera, truth().K, WIDTH, HEIGHT))


def test_opengl() -> None:
    assert_same_pictures(cameras_from_opengl(opengl_poses(), truth().K, WIDTH, HEIGHT))


def test_opengl_agrees_with_the_projection_formula_of_opengl() -> None:
    # Clip-space convention: x right and y up in [-1, 1], the camera looks along -z.
    poses = opengl_poses()[:1]
    cameras = cameras_from_opengl(poses, truth().K[:1], WIDTH, HEIGHT)
    in_view = (torch.linalg.inv(poses[0]) @ torch.cat([POINTS, torch.ones(4, 1)], -1).T)[:3]
    K = truth().K[0]
    ndc_x = (K[0, 0] * in_view[0] / -in_view[2]) / (WIDTH / 2)
    ndc_y = (K[1, 1] * in_view[1] / -in_view[2]) / (HEIGHT / 2)
    u = WIDTH / 2 * ndc_x + K[0, 2]
    v = HEIGHT / 2 * -ndc_y + K[1, 2]
    torch.testing.assert_close(pixels(cameras)[0], torch.stack([u, v], -1))


def test_blender_uses_the_horizontal_angle() -> None:
    angle = 0.9
    cameras = cameras_from_blender(opengl_poses(), angle, WIDTH, HEIGHT)
    at_right_edge = cameras.camera_to_world @ torch.tensor(
        [math.tan(angle / 2), 0.0, 1.0, 1.0], dtype=torch.float64
    )
    got, _ = cameras.project(at_right_edge[:, None, :3])
    expected = torch.tensor([[[WIDTH, HEIGHT / 2]]], dtype=torch.float64).expand(3, 1, 2)
    torch.testing.assert_close(got, expected)


def test_eg3d_labels() -> None:
    poses = truth().camera_to_world
    K = truth().K.clone()
    K[:, 0] /= WIDTH
    K[:, 1] /= HEIGHT
    labels = torch.cat([poses.flatten(1), K.flatten(1)], dim=-1)
    assert_same_pictures(cameras_from_eg3d_labels(labels, WIDTH, HEIGHT))


def test_panohead_focal_length_is_a_field_of_view_of_13_37_degrees() -> None:
    K = [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
    pose = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1]  # in front, OpenCV axes
    cameras = cameras_from_eg3d_labels(torch.tensor([pose + K]).double(), 512, 512)
    fov_deg = math.degrees(2 * math.atan(256 / float(cameras.K[0, 1, 1])))
    assert fov_deg == pytest.approx(13.37, abs=0.01)
    ours = orbit([0], [0], size_px=512, vertical_fov_deg=fov_deg)
    torch.testing.assert_close(pixels(cameras), pixels(ours), atol=1e-3, rtol=0)  # ours is float32


def test_pytorch3d_follows_its_documented_projection() -> None:
    # PyTorch3D: row vectors X R + T, x left, y up; in NDC the shorter side spans [-1, 1], x grows
    # to the left and y upward, and the principal point is added to the projected position.
    flip = torch.tensor([-1.0, -1, 1]).double()
    world_to_camera = truth().world_to_camera
    R = (flip[:, None] * world_to_camera[:, :3, :3]).mT
    T = flip * world_to_camera[:, :3, 3]
    half = HEIGHT / 2
    K = truth().K
    focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1) / half
    principal = torch.stack([WIDTH / 2 - K[:, 0, 2], HEIGHT / 2 - K[:, 1, 2]], -1) / half
    in_camera = POINTS @ R[0] + T[0]
    ndc = focal[0] * in_camera[:, :2] / in_camera[:, 2:] + principal[0]
    expected = torch.stack([WIDTH / 2 - half * ndc[:, 0], HEIGHT / 2 - half * ndc[:, 1]], -1)
    cameras = cameras_from_pytorch3d(R, T, focal, principal, WIDTH, HEIGHT)
    torch.testing.assert_close(pixels(cameras)[0], expected)
    assert_same_pictures(cameras)


@pytest.mark.parametrize(
    ("name", "face", "up", "left"),
    [
        ("facelift", (0, -1, 0), (0, 0, 1), (1, 0, 0)),
        ("arc2avatar", (0, 1, 0), (0, 0, 1), (-1, 0, 0)),
        ("id-sculpt", (1, 0, 0), (0, 0, 1), (0, 1, 0)),
        ("panohead", (0, 0, 1), (0, 1, 0), (1, 0, 0)),
        ("flame", (0, 0, 1), (0, 1, 0), (1, 0, 0)),
        ("any3davatar", (0, 0, 1), (0, 1, 0), (1, 0, 0)),
    ],
)
def test_world_frames_put_face_up_and_left_where_ours_are(
    name: str, face: tuple[int, ...], up: tuple[int, ...], left: tuple[int, ...]
) -> None:
    axes = torch.tensor([left, up, face], dtype=torch.float32)
    torch.testing.assert_close(WORLD_FRAMES[name].apply(axes), torch.eye(3), atol=0, rtol=0)


def test_impossible_axes_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"face must be one of \+x, -x"):
        world_from_axes(face="z", up="+y")
    with pytest.raises(InvalidInput, match="must lie on different axes; got -z and"):
        world_from_axes(face="-z", up="+z")
