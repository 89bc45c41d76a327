from dataclasses import replace

import pytest
import torch

from any3davatar.core import Gaussians
from any3davatar.core.rotations import axis_angle_to_matrix, quaternion_to_matrix
from any3davatar.core.sh import sh_to_rgb
from any3davatar.model.config import ModelConfig
from any3davatar.model.decoder import SEEN_COLOR_REACH, GaussianDecoder, activate
from any3davatar.model.scaffold import Scaffold
from any3davatar.model.start import FRONT, Start, mean_or_seen, seen_from_front, start_of
from tests.model.tiny import EXTRAS, PAPER, hull, seeded

SKIP = replace(EXTRAS, hull_start=False, silhouette=False, hull_ways=0, hull_waves=0)


def scaffold_of(config: ModelConfig) -> Scaffold:
    return Scaffold(config, hull(config) if config.hull_start else None)


def decode(
    raw: torch.Tensor, config: ModelConfig, portrait: torch.Tensor | None = None
) -> Gaussians:
    if portrait is None:
        portrait = torch.full((len(raw), config.portrait_channels, 16, 16), 0.5)
    scaffold = scaffold_of(config)
    start = start_of(scaffold, portrait, config)
    return activate(raw, scaffold, start, mean_or_seen(start), config)


def plane_start() -> tuple[Scaffold, Start, torch.Tensor]:
    """Return the paper's scaffold, its start, and grey."""
    scaffold = Scaffold(PAPER, None)
    start = start_of(scaffold, torch.zeros(1, 3, 16, 16), PAPER)
    grey = torch.zeros(1, 4, 3, 16, 16)
    return scaffold, start, grey


def rgb(gaussians: Gaussians) -> torch.Tensor:
    return sh_to_rgb(gaussians.sh, torch.zeros_like(gaussians.means))


def per_view(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.unflatten(1, (4, 16, 16))


@pytest.mark.parametrize("config", [PAPER, EXTRAS])
def test_whatever_the_network_says_is_a_valid_head_within_reach(config: ModelConfig) -> None:
    raw = 30 * torch.randn(2, 4, 16, 16, 14, generator=seeded())
    gaussians = decode(raw, config).validate()
    cameras = scaffold_of(config).cameras
    for view in range(4):
        means = per_view(gaussians.means)[:, view].flatten(1, 2)
        pixels, z = cameras[view].project(means)
        # float32: 2.7 plus a reach of 1, a few ulp
        assert float((z - config.radius).abs().max()) <= config.depth_reach + 1e-5
        centers = torch.cartesian_prod(torch.arange(16) + 0.5, torch.arange(16) + 0.5).flip(-1)
        offset = (pixels - centers) * z[..., None] / cameras.K[0, 0, 0]  # world units
        assert float(offset.abs().max()) <= config.offset_reach + 1e-5
        footprint = z / cameras.K[0, 0, 0]
        scale_px = per_view(gaussians.scales)[:, view].flatten(1, 2) / footprint[..., None]
        assert float(scale_px.min()) >= config.scale_min_px * (1 - 1e-4)  # pixels, float32 ratio
        assert float(scale_px.max()) <= config.scale_max_px * (1 + 1e-4)
    assert float(gaussians.opacities.min()) >= config.opacity_min * (1 - 1e-5)  # float32
    assert float(gaussians.opacities.max()) <= 1 - config.opacity_min * (1 - 1e-3)  # ulp near 1


def test_zero_output_is_the_plane_start() -> None:
    gaussians = decode(torch.zeros(1, 4, 16, 16, 14), PAPER)
    front, left, right, back = per_view(gaussians.means)[0]
    # float32 rotations of points at distance 2.7
    assert float(torch.stack([front[..., 2], back[..., 2]]).abs().max()) < 1e-5
    assert float(torch.stack([left[..., 0], right[..., 0]]).abs().max()) < 1e-5
    torch.testing.assert_close(
        gaussians.opacities, torch.full_like(gaussians.opacities, 0.1), atol=1e-6, rtol=0
    )  # float32 logit and back
    torch.testing.assert_close(rgb(gaussians), torch.full((1, 1024, 3), 0.5))
    footprint = 2.7 / float(scaffold_of(PAPER).K[0, 0, 0])
    torch.testing.assert_close(
        gaussians.scales, torch.full_like(gaussians.scales, 0.8 * footprint), atol=0, rtol=1e-5
    )  # float32 sigmoid of a logit


def test_zero_output_is_the_hull_start() -> None:
    config = replace(EXTRAS, color_skip=False, silhouette=False, hull_ways=0, hull_waves=0)
    gaussians = decode(torch.zeros(1, 4, 16, 16, 14), config)
    mean = hull(config)
    cameras = scaffold_of(config).cameras
    for view in range(4):
        _, z = cameras[view].project(per_view(gaussians.means)[0, view].flatten(0, 1))
        torch.testing.assert_close(z, mean.depth[view].flatten(), atol=1e-5, rtol=0)  # float32
    low = 1 / (1 + 2.718281828 ** (0.9 * 7))
    torch.testing.assert_close(
        per_view(gaussians.opacities)[0], mean.opacity.clamp(low, 1 - low), atol=1e-5, rtol=0
    )  # float32 logits up to 6.3
    torch.testing.assert_close(
        per_view(rgb(gaussians))[0], mean.rgb.clamp(0.02, 0.98).movedim(1, -1), atol=1e-5, rtol=0
    )


def test_color_skip_starts_the_front_view_at_the_portrait() -> None:
    portrait = torch.rand(2, 3, 16, 16, generator=seeded(3))
    colors = per_view(rgb(decode(torch.zeros(2, 4, 16, 16, 14), SKIP, portrait)))
    expected = portrait.clamp(0.02, 0.98).movedim(1, -1)
    torch.testing.assert_close(colors[:, 0], expected, atol=1e-5, rtol=0)  # float32 logit and back
    torch.testing.assert_close(colors[:, 1:], torch.full_like(colors[:, 1:], 0.5))


def test_a_pixel_that_the_portrait_shows_keeps_its_color_nearly() -> None:
    """Without the bound, a training with LPIPS puts dark specks into faces."""
    config = replace(EXTRAS, hull_ways=0, hull_waves=0)
    raw = torch.zeros(1, 4, 16, 16, 14)
    portrait = torch.rand(1, 4, 16, 16, generator=seeded(3))
    before = rgb(decode(raw, config, portrait))
    raw[..., 11:] = 30.0  # whatever the network says
    change = torch.logit(rgb(decode(raw, config, portrait)), eps=1e-7) - torch.logit(before)
    seen = seen_from_front(scaffold_of(config))
    assert 0 < int(seen[1:].sum()) < seen[1:].numel()
    within = per_view(change)[0, seen]
    torch.testing.assert_close(
        within, torch.full_like(within, SEEN_COLOR_REACH), atol=1e-4, rtol=0
    )  # float32 logits up to 4
    assert float(per_view(change)[0, ~seen].min()) > 5
    front = replace(config, palette_colors=0)  # the sides start at the mean head: a guess
    change = torch.logit(rgb(decode(raw, front, portrait)), eps=1e-7) - torch.logit(before)
    assert float(per_view(change)[0, FRONT].max()) < SEEN_COLOR_REACH + 1e-4
    assert float(per_view(change)[0, FRONT + 1 :].min()) > 5
    shy = replace(config, color_skip=False)
    assert float((rgb(decode(raw, shy, portrait))).min()) > 0.99  # nothing is taken from it


def test_mirrored_outputs_give_the_mirrored_head() -> None:
    """Mirrored in x: views swap sides, pictures flip, rotations change handedness twice."""
    generator = seeded()
    raw = torch.randn(1, 4, 16, 16, 14, generator=generator)
    portrait = torch.rand(1, 3, 16, 16, generator=generator)
    sign = torch.tensor(
        [-1.0, 1, 1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1]
    )  # offset x; quaternion y, z
    swap = [0, 2, 1, 3]
    head = decode(raw, SKIP, portrait)
    mirrored = decode(raw[:, swap].flip(3) * sign, SKIP, portrait.flip(-1))

    def back(tensor: torch.Tensor) -> torch.Tensor:
        return per_view(tensor)[:, swap].flip(3).flatten(1, 3)

    flip = torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(
        back(mirrored.means) * flip, head.means, atol=2e-6, rtol=0
    )  # float32
    turned = quaternion_to_matrix(back(mirrored.quats)) * flip[:, None] * flip
    torch.testing.assert_close(turned, quaternion_to_matrix(head.quats), atol=2e-6, rtol=0)
    assert torch.equal(back(mirrored.scales), head.scales)
    assert torch.equal(back(mirrored.opacities), head.opacities)
    # The front's colours come through a float32 projection of pixel centres to themselves.
    torch.testing.assert_close(back(mirrored.sh.flatten(2)), head.sh.flatten(2), atol=1e-4, rtol=0)


def test_the_four_views_are_one_problem_up_to_a_turn() -> None:
    """Equal outputs in all views give the front's Gaussians, turned about the vertical axis."""
    raw = torch.randn(1, 1, 16, 16, 14, generator=seeded()).expand(-1, 4, -1, -1, -1)
    gaussians = decode(raw, PAPER)
    axes = quaternion_to_matrix(gaussians.quats) * gaussians.scales[..., None, :]
    covariances = per_view(axes @ axes.mT)[0].flatten(1, 2)
    means = per_view(gaussians.means)[0].flatten(1, 2)
    for view, azimuth in enumerate((0.0, 90.0, -90.0, 180.0)):
        angle = torch.tensor(azimuth).deg2rad()
        turn = axis_angle_to_matrix(torch.tensor([0.0, 1.0, 0.0]), angle)
        torch.testing.assert_close(means[view], means[0] @ turn.T, atol=2e-6, rtol=0)  # float32
        turned = turn @ covariances[0] @ turn.T
        scale = float(covariances.abs().max())
        torch.testing.assert_close(covariances[view], turned, atol=1e-5 * scale, rtol=0)  # float32


def test_each_token_decodes_to_the_pixels_of_its_own_patch() -> None:
    decoder = GaussianDecoder(PAPER)
    scaffold, start, grey = plane_start()
    tokens = torch.randn(1, 64, 32, generator=seeded())
    view, row, column = 2, 3, 1
    changed = tokens.clone()
    changed[:, view * 16 + row * 4 + column] += 1
    before = decoder(tokens, scaffold, start, grey).opacities
    moved = per_view(decoder(changed, scaffold, start, grey).opacities != before)[0]
    expected = torch.zeros(4, 16, 16, dtype=torch.bool)
    expected[view, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = True
    assert torch.equal(moved, expected)


def test_upsampling_ends_in_torchs_pixel_shuffle() -> None:
    decoder = GaussianDecoder(PAPER)
    scaffold, start, grey = plane_start()
    tokens = torch.randn(1, 64, 32, generator=seeded())
    points = decoder.mlp(decoder.upsample(tokens).unflatten(-1, (16, -1)))  # (1, 64, 16, 14)
    channels = points.unflatten(1, (4, 4, 4))[0].permute(0, 4, 3, 1, 2)  # (4, 14, 16, 4, 4)
    raw = torch.nn.functional.pixel_shuffle(channels.flatten(1, 2), 4)  # (4, 14, 16, 16)
    expected = activate(raw.movedim(1, -1)[None], scaffold, start, grey, PAPER)
    for name, tensor in decoder(tokens, scaffold, start, grey).tensors().items():
        assert torch.equal(tensor, expected.tensors()[name])


@pytest.mark.parametrize("point_channels", [0, 8])
def test_pixels_of_one_patch_can_differ(point_channels: int) -> None:
    decoder = GaussianDecoder(replace(PAPER, point_channels=point_channels))
    tokens = torch.randn(1, 64, 32, generator=seeded())
    patch = per_view(decoder(tokens, *plane_start()).opacities)[0, 0, :4, :4]
    assert len(patch.flatten().unique()) == 16


def test_gradients_of_the_activation_are_finite_at_extreme_outputs() -> None:
    raw = (60 * torch.randn(1, 4, 16, 16, 14, generator=seeded())).requires_grad_()
    gaussians = decode(raw, EXTRAS)
    sum(t.sum() for t in gaussians.tensors().values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    assert raw.grad is not None
    assert bool(torch.isfinite(raw.grad).all())
