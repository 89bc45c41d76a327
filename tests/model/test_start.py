"""Where Gaussians start is the mean head, carved and coloured by what the portrait shows."""

from dataclasses import replace

import pytest
import torch

from any3davatar.core import InvalidInput
from any3davatar.model.config import ModelConfig
from any3davatar.model.scaffold import Hull, Scaffold
from any3davatar.model.start import (
    FRONT,
    WAVE_HEIGHT,
    features,
    in_front_of,
    mean_or_seen,
    mirrored,
    pictures_of,
    seen_from_front,
    solid_colors,
    start_of,
    texture,
    waves,
)
from tests.model.tiny import EXTRAS, hull, seeded

MEAN = replace(EXTRAS, hull_ways=0, hull_waves=0)
PLAIN = replace(MEAN, silhouette=False)


def scaffold_of(config: ModelConfig, given: Hull | None = None) -> Scaffold:
    return Scaffold(config, given or hull(config))


def portraits(config: ModelConfig, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, config.portrait_channels, 16, 16, generator=seeded(5))


def places(scaffold: Scaffold, argument: torch.Tensor) -> torch.Tensor:
    """Return the points at these depths in the world, (_, 4, H, W, 3)."""
    return scaffold.to_world(scaffold.on_rays(scaffold.depth_of(argument)))


def disc() -> torch.Tensor:
    """Return the alpha of a disc with a soft outline, (1, 1, 16, 16)."""
    across = torch.arange(16) + 0.5 - 8
    return (5 - torch.hypot(across, across[:, None])).clamp(0, 1)[None, None]


def test_without_switches_the_start_is_the_scaffolds() -> None:
    config = replace(PLAIN, color_skip=False)
    scaffold = scaffold_of(config)
    start = start_of(scaffold, portraits(config), config)
    assert torch.equal(start.depth[0], scaffold.start_depth)
    assert torch.equal(start.opacity[0], scaffold.start_opacity)
    assert torch.equal(start.color[0, 0], scaffold.start_color)


def test_color_skip_gives_the_front_the_portrait_and_the_rest_what_is_in_front_of_it() -> None:
    scaffold, portrait = scaffold_of(PLAIN), portraits(PLAIN)
    start = start_of(scaffold, portrait, PLAIN)
    colors = mean_or_seen(start).sigmoid()
    shown = portrait.clamp(0.02, 0.98)
    torch.testing.assert_close(colors[:, FRONT], shown, atol=1e-4, rtol=0)  # a float32 projection
    mean = hull(PLAIN).rgb.clamp(0.02, 0.98)
    torch.testing.assert_close(colors[1, 1:], mean[1:], atol=1e-5, rtol=0)
    # The second colour on offer beside and behind: what the front camera sees there.
    points = places(scaffold, scaffold.start_depth[None])
    pixels, _ = scaffold.cameras[FRONT].project(points[0, 1].flatten(0, 1))
    inside = ((pixels > 0.5) & (pixels < 15.5)).all(-1)
    columns, rows = (pixels - 0.5).unbind(-1)
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    for axis, expected in ((ramp, columns), (ramp.mT, rows)):
        seen = in_front_of(scaffold, points, axis)[0, 1, 0].flatten()
        torch.testing.assert_close(seen[inside], expected[inside], atol=1e-4, rtol=0)


def test_what_the_portrait_shows_as_background_starts_transparent() -> None:
    scaffold = scaffold_of(MEAN)
    portrait = portraits(MEAN, batch=1)
    portrait[:, 3:] = disc()
    start = start_of(scaffold, portrait, MEAN)
    reach = MEAN.opacity_logit_reach
    opacity = torch.sigmoid(reach * torch.tanh(start.opacity / reach))[0]
    low = 1 / (1 + 2.718281828 ** (0.9 * reach))
    expected = disc()[0, 0].clamp(low, 1 - low)
    torch.testing.assert_close(opacity[FRONT], expected, atol=1e-4, rtol=0)
    seen = in_front_of(scaffold, places(scaffold, start.depth), portrait)[0, :, 3]
    assert bool((opacity[1:][seen[1:] == 0] <= low * 1.01).all())
    # Elsewhere the squared mean, so that what few heads have starts fainter than their share.
    expected = (hull(MEAN).opacity.square() * seen)[1:].clamp(low, 1 - low)
    torch.testing.assert_close(opacity[1:], expected, atol=1e-4, rtol=0)


def test_an_outline_takes_the_color_of_the_head_and_not_of_the_background() -> None:
    color, alpha = torch.tensor([0.2, 0.3, 0.6])[:, None, None], disc()
    portrait = torch.cat([color * alpha + (1 - alpha), alpha], dim=1)
    rim = (alpha > 0) & (alpha < 0.98)
    assert int(rim.sum()) > 20
    before = (portrait[:, :3] - color).abs().amax(1, keepdim=True)[rim]
    after = (solid_colors(portrait)[:, :3] - color).abs().amax(1, keepdim=True)[rim]
    assert float(before.max()) > 0.3
    assert float(after.max()) < 1e-5
    untouched = alpha >= 0.98
    assert torch.equal(
        solid_colors(portrait)[untouched.expand(1, 4, -1, -1)],
        portrait[untouched.expand(1, 4, -1, -1)],
    )


def test_the_start_follows_the_portrait_along_the_ways() -> None:
    """One way, read from one feature: depth, opacity and colour move by that feature times it."""
    config = replace(EXTRAS, hull_ways=1)
    mean = hull(config)
    mean = replace(
        mean,
        depth=torch.full_like(mean.depth, config.radius),
        opacity=torch.full_like(mean.opacity, 0.5),
        rgb=torch.full_like(mean.rgb, 0.5),
    )
    way = torch.tensor([0.2, -0.1, 0.1, -0.2, 0.05])[:, None, None].expand(1, 4, 5, 8, 8)
    reading = torch.zeros(1, config.hull_features + config.hull_waves)
    reading[0, 5] = 1.0  # the silhouette's cell in row 1, column 1
    follows = replace(mean, reading=reading, reading_bias=torch.tensor([0.25]), ways=way)
    portrait = torch.ones(1, 4, 16, 16)
    portrait[:, 3, 4:6, 4:8] = 0  # half of that cell
    scaffold = scaffold_of(config, follows)
    start = start_of(scaffold, portrait, config)
    amount = 0.5 + 0.25
    depth = scaffold.depth_of(start.depth)
    expected = torch.full_like(depth, config.radius - 0.1 * amount)
    torch.testing.assert_close(depth, expected, atol=1e-5, rtol=0)  # float32 atanh and back
    rgb = start.color[:, 0].sigmoid()
    for channel, change in enumerate((0.1, -0.2, 0.05)):
        wanted = torch.full_like(rgb[:, :, channel], 0.5 + change * amount)
        torch.testing.assert_close(rgb[:, :, channel], wanted, atol=1e-5, rtol=0)
    opacity = pictures_of(start)[0, 1:, 3]  # bounded by a tanh that bends it a little
    seen = in_front_of(scaffold, places(scaffold, start.depth), portrait)[0, 1:, 3]
    wanted = (0.5 + 0.2 * amount) ** 2
    torch.testing.assert_close(
        opacity[seen == 1], torch.full_like(opacity[seen == 1], wanted), atol=0.01, rtol=0
    )


def test_features_are_the_coarse_silhouette_the_colors_within_it_and_texture() -> None:
    portrait = portraits(EXTRAS, batch=1)
    portrait[:, 3, :8] = 0  # nothing of the head in the upper half
    portrait[:, :3, 8:, :8] = torch.tensor([0.9, 0.5, 0.1])[:, None, None]
    got = features(portrait)[0]
    assert len(got) == EXTRAS.hull_features == 16 + 12 + 16
    silhouette, colors = got[:16].reshape(4, 4), got[16:28].reshape(3, 2, 2)
    assert bool((silhouette[:2] == 0).all())
    cell = portrait[0, 3, 8:12, :4].mean()
    torch.testing.assert_close(silhouette[2, 0], cell)
    assert bool((colors[:, 0] == 0).all())
    torch.testing.assert_close(colors[:, 1, 0], torch.tensor([0.9, 0.5, 0.1]), atol=1e-6, rtol=0)


def test_texture_is_how_much_luminance_changes_along_four_directions() -> None:
    """A ramp along (3, 4) / 5, 0.01 a pixel: its derivative along a direction is a cosine."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    ramp = 0.01 * (0.6 * columns + 0.8 * rows)
    got = texture(ramp.expand(1, 3, 32, 32))[0, :, 1:-1, 1:-1]  # replicated borders are flatter
    root = 0.5**0.5
    cosines = torch.tensor([0.6, (0.6 + 0.8) * root, 0.8, (0.8 - 0.6) * root])
    torch.testing.assert_close(got, 0.01 * cosines[:, None, None].expand(4, 2, 2))


def test_features_of_a_mirrored_portrait_are_mirrored_features() -> None:
    portrait = portraits(EXTRAS)
    got = mirrored(features(portrait), 16)
    torch.testing.assert_close(got, features(portrait.flip(-1)), atol=1e-6, rtol=1e-5)
    assert float((got - features(portrait)).abs().max()) > 0.1


@pytest.mark.border
def test_ways_need_what_they_read() -> None:
    for changes in ({"silhouette": False}, {"hull_start": False}, {"size_px": 20}):
        with pytest.raises(InvalidInput, match="hull_ways needs hull_start and silhouette, and a"):
            replace(EXTRAS, **changes)
    for changes in ({"hull_waves": 5}, {"hull_ways": 0}):
        with pytest.raises(InvalidInput, match="hull_waves must be even, and needs hull_ways; got"):
            replace(EXTRAS, **changes)


def test_the_front_camera_sees_the_half_of_a_ball_that_faces_it() -> None:
    """A point of a ball is seen exactly where its normal points towards the camera."""
    radius = 0.6
    view = replace(EXTRAS, size_px=64)
    scaffold = scaffold_of(view)
    origins, directions = scaffold.cameras.rays()
    middle = (origins * directions).sum(-1)
    gap = middle.square() - origins.square().sum(-1) + radius**2
    hits = gap > 0
    points = origins + directions * (-middle - gap.clamp_min(0).sqrt())[..., None]
    forward = scaffold.cameras.world_to_camera[:, None, None, 2, :3]
    behind = view.radius + 0.9 * view.depth_reach
    depth = torch.where(hits, ((points - origins) * forward).sum(-1), behind)
    ball = Scaffold(view, replace(hull(view), depth=depth))
    seen = seen_from_front(ball)
    facing = (points * (origins[FRONT, 0, 0] - points)).sum(-1) / points.norm(dim=-1)
    # In world units: a start counts as seen up to 0.08 behind what is in front of it.
    clear = hits & (facing > 0.6)
    hidden = hits & (facing < -0.9)
    assert int(clear[1:3].sum()) > 500
    assert int(hidden.sum()) > 500
    assert bool(seen[clear].all())
    assert not bool(seen[hidden].any())


def test_waves_make_a_gaussian_kernel() -> None:
    """The product of two portraits' waves depends on their distance alone."""
    generator = seeded(2)
    apart = torch.linspace(0, 3, 7)
    read = torch.randn(1, 28, generator=generator) + torch.zeros(7, 1)
    read[:, 4] += apart
    frequencies = torch.randn(20_000, 28, generator=generator)
    phases = 6.283185 * torch.rand(20_000, generator=generator)
    got = waves(read, frequencies, phases)
    kernel = (got @ got[0]) / WAVE_HEIGHT**2
    # a mean of 20,000 products with a standard deviation of at most 1
    torch.testing.assert_close(kernel, torch.exp(-apart.square() / 2), atol=0.03, rtol=0)
