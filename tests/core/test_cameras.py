import math

import pytest
import torch

from any3davatar.core import Cameras, InvalidInput, intrinsics_from_fov
from any3davatar.core.rigs import orbit


def some_cameras() -> Cameras:
    return orbit([0, 70, 200], [0, 20, -10], size_px=12).to(torch.float64)


def test_projection_of_points_on_rays_gives_their_pixel_centres() -> None:
    cameras = some_cameras().cropped(1, 2, 9, 7)
    origins, directions = cameras.rays()
    points = (origins + 1.7 * directions).flatten(1, 2)
    pixels, depth = cameras.project(points)
    u = torch.arange(9, dtype=torch.float64) + 0.5
    v = torch.arange(7, dtype=torch.float64) + 0.5
    expected = torch.stack(torch.meshgrid(u, v, indexing="xy"), -1).reshape(-1, 2)
    torch.testing.assert_close(pixels, expected.expand(3, -1, -1), atol=1e-6, rtol=0)  # from f32
    assert bool((depth > 0).all())


def test_rays_start_at_the_centres_and_have_unit_length() -> None:
    cameras = some_cameras()
    origins, directions = cameras.rays()
    torch.testing.assert_close(origins[:, 0, 0], cameras.centers)
    ones = torch.ones(3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(directions.norm(dim=-1), ones)


def test_plucker_is_the_line_not_the_point_on_it() -> None:
    cameras = some_cameras()
    origins, directions = cameras.rays()
    plucker = cameras.plucker()
    assert plucker.shape == (3, 6, 12, 12)
    slid = torch.linalg.cross(origins - 3.1 * directions, directions).movedim(-1, -3)
    torch.testing.assert_close(plucker[:, :3], slid, atol=1e-12, rtol=0)
    torch.testing.assert_close(plucker[:, 3:], directions.movedim(-1, -3))
    product = (plucker[:, :3] * plucker[:, 3:]).sum(1)
    torch.testing.assert_close(product, torch.zeros_like(product), atol=1e-12, rtol=0)


def test_camera_to_world_inverts_world_to_camera() -> None:
    cameras = some_cameras()
    identity = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    product = cameras.camera_to_world @ cameras.world_to_camera
    torch.testing.assert_close(product, identity, atol=1e-6, rtol=0)  # rotations rounded to f32


def test_resizing_scales_projected_points_with_the_picture() -> None:
    cameras = some_cameras()
    point = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64).expand(3, 1, 3)
    before, _ = cameras.project(point)
    after, _ = cameras.resized(36, 6).project(point)
    torch.testing.assert_close(after, before * torch.tensor([3.0, 0.5], dtype=torch.float64))


def test_cropping_shifts_projected_points() -> None:
    cameras = some_cameras()
    point = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64).expand(3, 1, 3)
    before, _ = cameras.project(point)
    after, _ = cameras.cropped(-2, 5, 4, 4).project(point)
    torch.testing.assert_close(after, before - torch.tensor([-2.0, 5.0], dtype=torch.float64))


def test_field_of_view_spans_the_height() -> None:
    K = intrinsics_from_fov(50.0, 300, 200, dtype=torch.float64)
    edge = math.tan(math.radians(25))
    assert float(K[1, 1]) * edge + float(K[1, 2]) == pytest.approx(200)
    assert K[0, 2] == 150


def test_the_batch_can_be_indexed_joined_and_reshaped() -> None:
    cameras = some_cameras()
    again = Cameras.concatenate([cameras[:1], cameras[1:]])
    assert torch.equal(again.world_to_camera, cameras.world_to_camera)
    assert cameras[1].batch_shape == ()
    assert cameras[1].reshape(1, 1).batch_shape == (1, 1)
    assert len(cameras) == 3


@pytest.mark.border
def test_wrong_shapes_name_both_tensors() -> None:
    cameras = some_cameras()
    with pytest.raises(InvalidInput, match=r"K has leading dimensions \(2,\).*\(3,\)"):
        Cameras(cameras.world_to_camera, cameras.K[:2], 12, 12)
    with pytest.raises(InvalidInput, match=r"K is torch.float32.*torch.float64"):
        Cameras(cameras.world_to_camera, cameras.K.float(), 12, 12)
    with pytest.raises(InvalidInput, match=r"must have shape \(\*b, 4, 4\); got \(3, 3, 4\)"):
        Cameras(cameras.world_to_camera[:, :3], cameras.K, 12, 12)


@pytest.mark.parametrize("width", [0, -3])
def test_empty_pictures_are_refused(width: int) -> None:
    cameras = some_cameras()
    with pytest.raises(
        InvalidInput, match=f"width must be an int of at least 1 pixel; got {width}"
    ):
        Cameras(cameras.world_to_camera, cameras.K, width, 12)


def changed(index: tuple[int, ...], value: float, of: str = "world_to_camera") -> Cameras:
    cameras = some_cameras()
    tensors = {"world_to_camera": cameras.world_to_camera.clone(), "K": cameras.K.clone()}
    tensors[of][index] = value
    return Cameras(tensors["world_to_camera"], tensors["K"], 12, 12)


def test_validation_names_what_is_wrong() -> None:
    some_cameras().validate()
    with pytest.raises(InvalidInput, match=r"world_to_camera\[1, 0, 3\] is nan"):
        changed((1, 0, 3), float("nan")).validate()
    with pytest.raises(InvalidInput, match="must hold rotations"):
        changed((1, 0, 0), 2.0).validate()
    with pytest.raises(InvalidInput, match="Is it transposed"):
        changed((1, 3, 0), 2.0).validate()
    with pytest.raises(InvalidInput, match="positive focal lengths"):
        changed((1, 0, 0), 0.0, of="K").validate()
    with pytest.raises(InvalidInput, match="no skew"):
        changed((1, 0, 1), 0.5, of="K").validate()


def test_a_mirrored_camera_is_refused() -> None:
    cameras = some_cameras()
    mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))
    mirrored = Cameras(mirror @ cameras.world_to_camera, cameras.K, 12, 12)
    with pytest.raises(InvalidInput, match="must not mirror"):
        mirrored.validate()
