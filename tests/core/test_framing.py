"""Pictures and cameras are cropped and mirrored together: what was visible stays where it was."""

import math

import pytest
import torch

from any3davatar.core import Cameras, Gaussians, Views
from any3davatar.core.framing import framed, mirrored
from any3davatar.core.images import straight_rgb
from any3davatar.core.rigs import canonical_four, orbit
from any3davatar.render import render
from tests.train.tiny_run import bean

WHITE, BLACK = torch.ones(3), torch.zeros(3)


def straight(gaussians: Gaussians, cameras: Cameras) -> Views:
    views = render(gaussians, cameras, BLACK)
    return Views(straight_rgb(views.rgb, views.alpha, BLACK), views.alpha)


def centroid(alpha: torch.Tensor, axis: int) -> float:
    return float((alpha.sum(-1 if axis == -2 else -2) * torch.arange(24)).sum() / alpha.sum())


def test_a_window_of_the_same_pixels_is_the_view_of_the_camera_that_comes_back() -> None:
    cameras = orbit([20.0], [10.0], size_px=64)
    view, camera = framed(
        straight(bean(0), cameras)[0], cameras[0], WHITE, size_px=36, vertical_fov_deg=29.0
    )
    rendered = render(bean(0), camera.reshape(1), WHITE)
    assert camera.width == 36
    # The same Gaussians in other tiles of the rasterizer, and a division by alpha: float32.
    assert float((view.rgb - rendered.rgb[0]).abs().max()) < 1e-3
    assert float((view.alpha - rendered.alpha[0]).abs().max()) < 1e-3


@pytest.mark.parametrize("size_px", [64, 65])
def test_resized_views_lie_where_the_camera_that_comes_back_sees_them(size_px: int) -> None:
    cameras = orbit([20.0], [10.0], size_px=size_px)
    source = straight(bean(0), cameras)
    view, camera = framed(source[0], cameras[0], WHITE, size_px=24, vertical_fov_deg=40.0)
    rendered = render(bean(0), camera.reshape(1), WHITE)
    # Averaging softens edges alike on both sides, so the centre of mass stays: a tenth of a
    # pixel is far below the half pixel that a wrong convention would give.
    for axis in (-1, -2):
        ours, truth = (centroid(alpha, axis) for alpha in (view.alpha, rendered.alpha[0]))
        assert ours == pytest.approx(truth, abs=0.1)


def test_the_window_has_the_field_of_view_up_to_a_pixel_and_stays_central() -> None:
    camera = orbit([0.0], [0.0], size_px=160)[0]
    picture = Views(torch.zeros(3, 160, 160), torch.zeros(1, 160, 160))
    _, narrow = framed(picture, camera, WHITE, size_px=64, vertical_fov_deg=24.0)
    fov_deg = 2 * math.degrees(math.atan(32 / float(narrow.K[1, 1])))
    assert fov_deg == pytest.approx(24, abs=24 / 72)  # one of the 72 source pixels
    assert narrow.K[:2, 2].tolist() == [32, 32]


def test_a_narrow_picture_is_kept_whole() -> None:
    camera = orbit([0.0], [0.0], size_px=32, vertical_fov_deg=20.0)[0]
    picture = Views(torch.rand(3, 32, 32), torch.ones(1, 32, 32))
    view, same = framed(picture, camera, WHITE, size_px=32, vertical_fov_deg=50.0)
    assert torch.equal(view.rgb, picture.rgb)
    assert torch.equal(same.K, camera.K)


def test_the_window_never_leaves_the_picture() -> None:
    camera = orbit([0.0], [0.0], size_px=40)[0]
    aside = camera.cropped(15, -10, 40, 40)  # the principal point lies at (5, 30)
    picture = Views(torch.rand(3, 40, 40), torch.ones(1, 40, 40))
    _, moved = framed(picture, aside, WHITE, size_px=16, vertical_fov_deg=30.0)
    scale = 16 / round(40 * math.tan(math.radians(15)) / math.tan(math.radians(25)) / 2) / 2
    assert float(moved.K[0, 2]) == pytest.approx(5 * scale, rel=0.02)  # the left edge is kept


def test_mirrored_views_are_the_views_of_the_mirrored_head() -> None:
    head = bean(1)
    swap = torch.tensor([-1.0, 1.0, 1.0])
    # Round Gaussians look the same after mirroring, so only their places change.
    other = Gaussians(head.means * swap, head.quats, head.scales, head.opacities, head.sh)
    cameras = orbit([0.0, 70.0, 200.0], [0.0, 15.0, -10.0], size_px=33).cropped(3, 0, 30, 33)
    source = render(head, cameras, WHITE)
    views, moved = mirrored(source, cameras)
    truth = render(other, moved.validate(), WHITE)
    # Equal up to the order in which float32 sums blend; edges of tiles move with the flip.
    assert float((views.rgb - truth.rgb).abs().max()) < 1e-3
    assert float((views.rgb - source.rgb).abs().mean()) > 0.01


def test_mirroring_twice_changes_nothing() -> None:
    cameras = orbit([30.0], [5.0], size_px=16)
    views = Views(torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16))
    again, back = mirrored(*mirrored(views, cameras))
    assert torch.equal(again.rgb, views.rgb)
    assert torch.equal(back.world_to_camera, cameras.world_to_camera)
    assert torch.equal(back.K, cameras.K)


def test_mirrored_canonical_cameras_are_the_canonical_cameras_with_sides_swapped() -> None:
    cameras = canonical_four(8)
    _, moved = mirrored(Views(torch.zeros(4, 3, 8, 8), torch.zeros(4, 1, 8, 8)), cameras)
    swapped = moved[torch.tensor([0, 2, 1, 3])]
    assert torch.allclose(swapped.world_to_camera, cameras.world_to_camera, atol=1e-6)  # sines
    assert torch.equal(swapped.K, cameras.K)
