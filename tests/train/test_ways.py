"""How the mean head follows a portrait is what a linear regression over the training set says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.model import Hull
from any3davatar.model.embed import network_input
from any3davatar.model.scaffold import Scaffold, placeholder_hull
from any3davatar.model.start import WAVE_HEIGHT, features, start_of, waves
from any3davatar.render import render
from any3davatar.train import ways
from any3davatar.train.hull import mean_hull
from any3davatar.train.samples import read_framed
from any3davatar.train.ways import RIDGE, WAVE_LENGTH, fitted, random_waves
from tests.model.tiny import hull
from tests.train.test_hull import CANONICAL, WHITE
from tests.train.tiny_run import BEANS, CONFIG, bean

MODEL = CONFIG.model


def amounts_of(read: torch.Tensor, given: Hull) -> torch.Tensor:
    waving = waves(read, given.frequencies, given.phases)
    return torch.cat([read, waving], dim=1) @ given.reading.mT + given.reading_bias


def portrait_of(group: GroupEntry) -> torch.Tensor:
    """Return the portrait as a run reads it: a picture made small is not a small render."""
    capture = group.capture()
    views, _ = read_framed(
        capture,
        [capture.input_view],
        WHITE,
        size_px=MODEL.size_px,
        vertical_fov_deg=MODEL.vertical_fov_deg,
    )
    return network_input(views, MODEL)


def test_regression_equals_numpy_on_stacked_rows() -> None:
    """Ridge regression is least squares with rows of sqrt(ridge) below; all ranks kept."""
    config = replace(MODEL, hull_ways=MODEL.hull_features, hull_waves=0)
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(60, config.hull_features, generator=generator)
    change = 0.05 * torch.randn(60, 4, 5, 8, 8, generator=generator)
    got = fitted(hull(config), read, change.clone(), config)
    change[:, 0, [0, 2, 3, 4]] = 0  # the portrait itself shows them
    x = (read - read.mean(0)).double().numpy()
    y = (change - change.mean(0)).flatten(1).double().numpy()
    rows = np.vstack([x, np.sqrt(RIDGE) * np.eye(x.shape[1])])
    weights = np.linalg.lstsq(rows, np.vstack([y, np.zeros((x.shape[1], y.shape[1]))]))[0]
    amounts = read @ got.reading.mT + got.reading_bias
    ours = torch.einsum("nr,rvchw->nvchw", amounts, got.ways).flatten(1)
    # float32 sums of 60 products of values of 3 and 0.05
    torch.testing.assert_close(ours, torch.from_numpy(x @ weights).float(), atol=2e-5, rtol=0)


def test_a_regression_that_goes_on_is_one_over_both_sets() -> None:
    """Twice the same portraits, of other heads: the Gram matrix of before is then known exactly."""
    config = replace(MODEL, hull_ways=MODEL.hull_features, hull_waves=0)
    generator = torch.Generator().manual_seed(7)
    mean = replace(placeholder_hull(config), opacity=torch.full((4, 16, 16), 0.5))
    read = torch.randn(60, config.hull_features, generator=generator)
    # The same all over a view: the intercept is interpolated.
    changes = 0.05 * torch.randn(2, 60, 4, 5, 1, 1, generator=generator)
    before, after = changes.repeat(1, 1, 1, 1, 8, 8)
    both = fitted(mean, torch.cat([read, read]), torch.cat([before, after]), config)
    first = fitted(mean, read, before, config)
    moved = torch.cat([first.opacity[:, None], first.depth[:, None], first.rgb], dim=1)
    moved[:, 1] -= config.radius
    moved[:, [0, 2, 3, 4]] -= 0.5
    second = fitted(first, read, after - F.avg_pool2d(moved, 2), config, before=1.0)

    def follows(given: Hull) -> torch.Tensor:
        amounts = read @ given.reading.mT + given.reading_bias
        change = torch.einsum("nr,rvchw->nvchw", amounts, given.ways)
        channels = torch.cat([given.opacity[:, None], given.depth[:, None], given.rgb], dim=1)
        return F.avg_pool2d(channels, 2) + change

    # float32 sums of 120 products of values of 3 and 0.05
    torch.testing.assert_close(follows(second), follows(both), atol=5e-5, rtol=0)
    apart = (follows(first) - follows(both)).abs().mean()
    assert float(apart) > 100 * float((follows(second) - follows(both)).abs().mean())


def test_waves_of_before_stay_where_the_regression_goes_on() -> None:
    read = torch.randn(40, MODEL.hull_features, generator=torch.Generator().manual_seed(8))
    change = 0.05 * torch.randn(40, 4, 5, 8, 8, generator=torch.Generator().manual_seed(9))
    first = fitted(hull(MODEL), read, change.clone(), MODEL)
    on = fitted(first, 3 * read, change.clone(), MODEL, before=1.0)
    anew = fitted(first, 3 * read, change.clone(), MODEL)
    assert torch.equal(on.frequencies, first.frequencies)
    assert torch.equal(on.phases, first.phases)
    assert not torch.equal(anew.frequencies, first.frequencies)


def test_a_lower_rank_keeps_the_directions_that_explain_most() -> None:
    generator = torch.Generator().manual_seed(1)
    config = replace(MODEL, hull_ways=2, hull_waves=0)
    read = torch.randn(500, config.hull_features, generator=generator)
    true = torch.randn(3, 4, 5, 8, 8, generator=generator)
    true[:, 0, [0, 2, 3, 4]] = 0
    true[:, :, 1] *= config.depth_reach
    strength = torch.tensor([1.0, 0.5, 0.1])
    change = torch.einsum("nr,r,rvchw->nvchw", read[:, :3], strength, true)
    got = fitted(hull(config), read, change.clone(), config)
    amounts = read @ got.reading.mT + got.reading_bias
    left = change - torch.einsum("nr,rvchw->nvchw", amounts, got.ways)
    share = float((left - left.mean(0)).square().sum() / (change - change.mean(0)).square().sum())
    weakest = 0.1**2 / (1 + 0.5**2 + 0.1**2)
    assert 0.5 * weakest < share < 1.5 * weakest


def test_waves_read_what_no_line_can() -> None:
    """The product of two features' signs is zero for every linear regression."""
    generator = torch.Generator().manual_seed(4)
    signs = torch.randint(0, 2, (800, 2), generator=generator) * 2.0 - 1
    read = 0.05 * torch.randn(800, MODEL.hull_features, generator=generator)
    read[:, :2] += signs
    change = torch.zeros(800, 4, 5, 8, 8)
    change[:, 1:] = 0.1 * signs.prod(1)[:, None, None, None, None]
    left = {}
    for count in (0, 256):
        config = replace(MODEL, hull_ways=3, hull_waves=count)
        got = fitted(hull(config), read[:400], change[:400].clone(), config)
        unseen = read[400:]
        amounts = amounts_of(unseen, got) if count else unseen @ got.reading.mT + got.reading_bias
        guess = torch.einsum("nr,rvchw->nvchw", amounts, got.ways)
        left[count] = float((change[400:] - guess)[:, 1:].square().mean()) / 0.1**2
    assert left[0] > 0.9
    assert left[256] < 0.1


def test_waves_are_as_wide_as_the_set() -> None:
    """Two portraits at the median squared distance have a kernel of exp(-1 / WAVE_LENGTH)."""
    read = torch.randn(300, MODEL.hull_features, generator=torch.Generator().manual_seed(5))
    typical = float(torch.pdist(read).square().median())
    pair = torch.zeros(2, MODEL.hull_features)
    for scale in (1.0, 7.0):
        pair[1, 3] = scale * typical**0.5
        got = waves(pair, *random_waves(scale * read, replace(MODEL, hull_waves=20_000)))
        kernel = float(got[0] @ got[1]) / WAVE_HEIGHT**2
        assert kernel == pytest.approx(math.exp(-1 / WAVE_LENGTH), abs=0.03)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_set_of_one_head_is_followed_by_that_head(heads: int) -> None:
    """One portrait, or one twice: there is no distance to take a width from."""
    read = torch.rand(1, MODEL.hull_features, generator=torch.Generator().manual_seed(6))
    change = torch.full((heads, 4, 5, 8, 8), 0.01)
    got = fitted(hull(MODEL), read.expand(heads, -1), change, MODEL)
    amounts = amounts_of(torch.rand(3, MODEL.hull_features), got)
    assert float(torch.einsum("nr,rvchw->nvchw", amounts, got.ways).abs().max()) < 1e-5


def test_a_set_that_never_changes_has_no_ways_and_its_own_mean() -> None:
    mean = hull(MODEL)
    change = torch.full((6, 4, 5, 8, 8), 0.01)
    read = torch.randn(6, MODEL.hull_features, generator=torch.Generator().manual_seed(2))
    got = fitted(mean, read, change, MODEL)
    amounts = amounts_of(read, got)
    assert float((amounts[:, :, None] * got.ways.flatten(1)).abs().max()) < 1e-5
    torch.testing.assert_close(got.rgb[1:], (mean.rgb[1:] + 0.01).clamp(0, 1))
    assert torch.equal(got.rgb[0], mean.rgb[0])


def test_a_head_that_follows_is_near_every_head_of_its_set(
    beans: tuple[GroupEntry, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a penalty four heads lie on three ways exactly, so each portrait finds its head."""
    monkeypatch.setattr(ways, "RIDGE", 1e-6)
    config = replace(CONFIG, model=replace(MODEL, hull_ways=3), flip=False)
    mean = mean_hull(beans, config)
    seen: list[int] = []
    follows = ways.with_ways(mean, beans, config, on_group=lambda: seen.append(1))
    assert len(seen) == BEANS
    truth = [render(bean(i), CANONICAL, WHITE) for i in range(BEANS)]
    portraits = torch.cat([portrait_of(group) for group in beans])
    covered = torch.stack([view.alpha for view in truth])[:, 1:, 0] > 0.98
    colors = torch.stack([view.rgb for view in truth])[:, 1:]
    depth = torch.stack([view.depth[:, 0] for view in truth if view.depth is not None])[:, 1:]

    def errors(given: Hull) -> tuple[float, float]:
        """Return squared errors of colour and depth where the heads are, but for the front."""
        scaffold = Scaffold(config.model, given)
        start = start_of(scaffold, portraits, config.model)
        rgb = (start.color[:, 0, 1:].sigmoid() - colors).square().mean(2)
        z = (scaffold.depth_of(start.depth)[:, 1:] - depth).square()
        return float(rgb[covered].mean()), float(z[covered].mean())

    before, after = errors(mean), errors(follows)
    assert after[0] < 0.5 * before[0]
    assert after[1] < before[1]  # a hull of silhouettes lies outside the surface for both


def test_mirror_images_make_the_ways_symmetric(beans: tuple[GroupEntry, ...]) -> None:
    """With flip, a mirrored portrait is followed by the mirrored change."""
    mean = mean_hull(beans, CONFIG)
    mirror = [0, 2, 1, 3]
    even = replace(
        mean,
        depth=(mean.depth + mean.depth[mirror].flip(-1)) / 2,
        opacity=(mean.opacity + mean.opacity[mirror].flip(-1)) / 2,
        rgb=(mean.rgb + mean.rgb[mirror].flip(-1)) / 2,
    )
    got = ways.with_ways(even, beans, CONFIG)
    portrait = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))

    def change(portrait: torch.Tensor) -> torch.Tensor:
        amounts = amounts_of(features(portrait), got)
        return torch.einsum("nr,rvchw->nvchw", amounts, got.ways)

    mirrored = change(portrait.flip(-1))[:, mirror].flip(-1)
    # float32 regression on eight heads
    torch.testing.assert_close(mirrored, change(portrait), atol=1e-3, rtol=0)
