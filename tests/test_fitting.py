"""Fitting recovers a head that nobody showed it directly."""

import pytest
import torch

from any3davatar.core import Cameras, Gaussians, InvalidInput, Views
from any3davatar.core.rigs import orbit
from any3davatar.fitting import FitConfig, fit_gaussians, hull_start, visual_hull
from any3davatar.render import render

GREY = torch.full((3,), 0.5)
SIZE = 48


def bean() -> Gaussians:
    """A closed, asymmetric, coloured surface: red to the left, green above, blue in front."""
    g = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(3000, 3, generator=g), dim=-1)
    means = directions * torch.tensor([0.45, 0.6, 0.5]) + torch.tensor([0.1, 0.0, -0.05])
    return Gaussians.from_rgb(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).expand(3000, 4).contiguous(),
        scales=torch.full((3000, 3), 0.03),
        opacities=torch.full((3000,), 0.95),
        rgb=(0.5 + directions / 2.2).clamp(0, 1),
    )


def rig(n: int, elevation_deg: float = 0) -> Cameras:
    azimuths = [360 / n * i for i in range(n)]
    elevations = [elevation_deg + (20 if i % 2 else -20) for i in range(n)]
    return orbit(azimuths, elevations, size_px=SIZE)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def test_a_fit_renders_views_that_it_has_not_seen() -> None:
    cameras, unseen = rig(12), rig(5, elevation_deg=5)
    config = FitConfig(n_gaussians=1500, steps=80, hull_resolution=48)
    losses: list[float] = []
    views, truth = render(bean(), cameras, GREY), render(bean(), unseen, GREY)
    fitted = fit_gaussians(views, cameras, GREY, config, lambda _, loss: losses.append(loss))
    fitted.validate()
    start = hull_start(views, cameras, config, torch.Generator().manual_seed(0))
    before = psnr(render(start, unseen, GREY).rgb, truth.rgb)
    after = psnr(render(fitted, unseen, GREY).rgb, truth.rgb)
    assert len(losses) == 80
    assert after > 30
    assert after > before + 5


def test_a_fit_is_reproducible() -> None:
    cameras = rig(6)
    views = render(bean(), cameras, GREY)
    config = FitConfig(n_gaussians=200, steps=5, hull_resolution=24)
    a, b = (fit_gaussians(views, cameras, GREY, config) for _ in range(2))
    assert all(torch.equal(t, b.tensors()[name]) for name, t in a.tensors().items())


def test_the_hull_lies_on_the_silhouettes_and_faces_outward() -> None:
    cameras = rig(12)
    alpha = render(bean(), cameras, GREY).alpha
    points, normals = visual_hull(alpha, cameras, 48, 1.3)
    center = torch.tensor([0.1, 0.0, -0.05])
    relative = (points - center) / torch.tensor([0.45, 0.6, 0.5])
    # Twelve silhouettes carve a shape somewhat larger than the ellipsoid; cells are 0.054 wide.
    assert float(relative.norm(dim=-1).min()) > 0.75
    assert float(relative.norm(dim=-1).median()) < 1.3
    outward = (normals * torch.nn.functional.normalize(points - center, dim=-1)).sum(-1)
    assert float((outward > 0).float().mean()) > 0.97


def test_cameras_of_another_capture_are_refused() -> None:
    cameras = rig(6)
    views = render(bean(), cameras, GREY)
    away = Cameras(cameras.world_to_camera.clone(), cameras.K, SIZE, SIZE)
    away.world_to_camera[:, 2, 3] = -5.0  # everything is behind them
    with pytest.raises(InvalidInput, match="no point near the origin is covered in every view"):
        fit_gaussians(views, away, GREY)
    with pytest.raises(InvalidInput, match=r"both be \(V,\); got \(6,\) and \(5,\)"):
        fit_gaussians(views, cameras[:5], GREY)
    with pytest.raises(InvalidInput, match="views are 48 x 48 pixels but the cameras are 24 x 24"):
        fit_gaussians(views, cameras.resized(24, 24), GREY)


def test_a_diverging_fit_is_refused_by_name() -> None:
    cameras = rig(4)
    views = render(bean(), cameras, GREY)
    config = FitConfig(n_gaussians=50, steps=9, hull_resolution=16, learning_rate_log_scales=1e4)
    with pytest.raises(InvalidInput, match=r"scales\[0, .*\] is not finite.*diverged"):
        fit_gaussians(views, cameras, GREY, config)


def test_views_may_be_given_without_depth() -> None:
    cameras = rig(6)
    views = render(bean(), cameras, GREY)
    config = FitConfig(n_gaussians=50, steps=1, hull_resolution=16)
    assert fit_gaussians(Views(views.rgb, views.alpha), cameras, GREY, config).count == 50


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"FitConfig\.steps must be at least 1; got 0"):
        FitConfig(steps=0)
