"""The public call: batching, backgrounds, backends."""

import pytest
import torch

from any3davatar.core import Cameras, Gaussians, InvalidInput
from any3davatar.core.images import straight_rgb
from any3davatar.core.rigs import orbit
from any3davatar.render import choose_backend, cpu, cuda, reference, render, render_channels

WHITE = torch.ones(3)


def heads(*batch: int, n: int = 60, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=0.3 * torch.randn(*batch, n, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(*batch, n, 4, generator=g), dim=-1),
        scales=0.02 + 0.1 * torch.rand(*batch, n, 3, generator=g),
        opacities=torch.rand(*batch, n, generator=g),
        sh=0.4 * torch.randn(*batch, n, 4, 3, generator=g),
    )


def rig(size_px: int = 20) -> Cameras:
    return orbit([0, 90, 200], [0, 10, -10], size_px=size_px)


def test_one_rig_serves_every_head_and_batch_equals_loop() -> None:
    batch = heads(2, 2)
    views = render(batch, rig(), WHITE)
    assert views.rgb.shape == (2, 2, 3, 3, 20, 20)
    for i in range(2):
        for j in range(2):
            alone = render(batch[i, j], rig(), WHITE)
            assert torch.equal(views.rgb[i, j], alone.rgb)
            assert torch.equal(views.alpha[i, j], alone.alpha)


def test_each_head_may_have_cameras_of_its_own() -> None:
    batch, cameras = heads(2), rig()
    own = Cameras(
        torch.stack([cameras.world_to_camera[:2], cameras.world_to_camera[1:]]),
        torch.stack([cameras.K[:2], cameras.K[1:]]),
        20,
        20,
    )
    views = render(batch, own, WHITE)
    assert torch.equal(views.rgb[1], render(batch[1], cameras[1:], WHITE).rgb)


def test_a_single_head_in_a_batch_of_cameras() -> None:
    cameras = rig().reshape(3, 1)
    views = render(heads(), cameras, WHITE)
    assert views.rgb.shape == (3, 1, 3, 20, 20)
    assert torch.equal(views.rgb[:, 0], render(heads(), rig(), WHITE).rgb)


def test_background_shows_where_alpha_does_not_cover() -> None:
    grey = torch.tensor([0.2, 0.5, 0.8])
    over_grey, over_white = render(heads(), rig(), grey), render(heads(), rig(), WHITE)
    straight = straight_rgb(over_grey.rgb, over_grey.alpha, grey)
    covered = over_grey.alpha > 0.1
    expected = straight * over_white.alpha + (1 - over_white.alpha)
    difference = ((expected - over_white.rgb) * covered).abs().max()
    assert float(difference) < 1e-5  # float32


def test_no_gaussians_show_the_background() -> None:
    nothing = heads().select(torch.zeros(60, dtype=torch.bool))
    color = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    views = render(nothing, rig(), color)
    assert torch.equal(views.rgb, color[:, None, None].expand(3, 3, 20, 20))
    assert not bool(views.alpha.any())
    views.rgb.sum().backward()
    assert color.grad is not None
    torch.testing.assert_close(color.grad, torch.full((3,), 3 * 400.0))


def test_no_cameras_and_no_heads_give_empty_views() -> None:
    assert render(heads(), rig()[:0], WHITE).rgb.shape == (0, 3, 20, 20)
    assert render(heads(2)[:0], rig(), WHITE).rgb.shape == (0, 3, 3, 20, 20)


def test_channels_equal_colours_of_degree_zero() -> None:
    gaussians = heads()
    rgb = torch.rand(60, 3, generator=torch.Generator().manual_seed(1))
    plain = Gaussians.from_rgb(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, rgb
    )
    got = render_channels(gaussians, rgb, rig(), WHITE)
    torch.testing.assert_close(got, render(plain, rig(), WHITE).rgb, atol=1e-6, rtol=0)
    many = render_channels(gaussians, rgb.repeat(1, 4), rig(), torch.ones(12))
    torch.testing.assert_close(many[:, 6:9], got, atol=1e-6, rtol=0)


def test_depth_lies_between_the_nearest_and_the_farthest_gaussian() -> None:
    views = render(heads(), rig(), WHITE)
    assert views.depth is not None
    seen = views.depth[views.alpha > 0.5]
    assert len(seen) > 100
    assert 1.0 < float(seen.min()) < float(seen.max()) < 4.5
    assert float(views.depth[views.alpha == 0].abs().max()) == 0


def test_a_camera_inside_the_head_renders() -> None:
    inside = orbit([0], [0], size_px=20, radius=0.05)
    views = render(heads(), inside, WHITE)
    assert bool(torch.isfinite(views.rgb).all())
    assert float(views.alpha.max()) > 0


def test_backends_are_chosen_by_device_and_type() -> None:
    assert choose_backend(torch.device("cpu"), torch.float64) is reference
    assert choose_backend(torch.device("cuda"), torch.float32) is cuda
    assert choose_backend(torch.device("meta"), torch.float32) is reference
    assert choose_backend(torch.device("cpu"), torch.float32) is cpu


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"must have a view dimension"):
        render(heads(), rig()[0], WHITE)
    with pytest.raises(InvalidInput, match=r"\(4, 3\) do not broadcast against Gaussians \(2,\)"):
        render(heads(2), rig().reshape(1, 3)[[0, 0, 0, 0]], WHITE)
    with pytest.raises(
        InvalidInput, match=r"world_to_camera is torch\.float64 on cpu but means is"
    ):
        render(heads(), rig().to(torch.float64), WHITE)


@pytest.mark.border
def test_malformed_colours_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"one RGB colour \(3,\); got \(4,\)"):
        render(heads(), rig(), torch.ones(4))
    with pytest.raises(InvalidInput, match=r"channels must be \(\*b, N, D\)"):
        render_channels(heads(), torch.rand(59, 3), rig(), WHITE)
    with pytest.raises(InvalidInput, match="each of the 5 channels"):
        render_channels(heads(), torch.rand(60, 5), rig(), WHITE)


def test_non_finite_gaussians_are_refused_by_name() -> None:
    broken = heads()
    broken.scales[7, 1] = float("nan")
    with pytest.raises(InvalidInput, match=r"scales\[0, 7, 1\] is not finite"):
        render(broken, rig(), WHITE)
