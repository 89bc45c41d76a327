"""Eq. 6 term by term, and what happens when a term is not finite."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.core import Gaussians, Views
from any3davatar.model import Prediction
from any3davatar.train import loop, losses
from any3davatar.train.batches import Share
from any3davatar.train.config import Precision, TrainConfig
from any3davatar.train.losses import (
    TrainingDiverged,
    check_finite_terms,
    grid_spread,
    loss_terms,
    term_names,
    total,
    weight_of,
)
from any3davatar.train.perceptual import load_perceptual
from any3davatar.train.samples import HeadSamples, TrainBatch, join
from tests.train.tiny_run import CONFIG, MACHINE, PAPER_CONFIG, bean

Beans = tuple[GroupEntry, ...]


def batch_of(beans: Beans, config: TrainConfig, *numbers: int) -> TrainBatch:
    samples = HeadSamples(beans, config)
    return join([read for n in numbers if isinstance(read := samples[n], TrainBatch)])


def prediction_of(images: torch.Tensor | None) -> Prediction:
    return Prediction(bean(0), images)


def test_terms_are_means_of_each_sample_and_add_up_by_their_weights(beans: Beans) -> None:
    config = replace(CONFIG, l2_weight=2.0, alpha_weight=3.0)
    batch = batch_of(beans, config, 0, 1)
    g = torch.Generator().manual_seed(0)
    rendered = Views(
        torch.rand(batch.target_rgb.shape, generator=g),
        torch.rand(batch.target_alpha.shape, generator=g),
    )
    images = torch.rand(batch.canonical.shape, generator=g)
    terms = loss_terms(prediction_of(images), rendered, batch, config, None)
    loss = total(terms, config)
    assert list(terms) == term_names(config) == ["render_l2", "image_l2", "render_alpha"]
    for b in range(2):
        expected = (
            2 * (rendered.rgb[b] - batch.target_rgb[b]).square().mean()
            + 3 * (rendered.alpha[b] - batch.target_alpha[b]).square().mean()
            + 2 * (images[b] - batch.canonical[b]).square().mean()
        )
        assert torch.allclose(loss[b], expected, rtol=1e-5)  # float32 sums of 2,000 terms


def test_a_perfect_prediction_costs_nothing_and_absent_terms_are_absent(beans: Beans) -> None:
    config = replace(CONFIG, alpha_weight=0.0)
    batch = batch_of(beans, config, 0)
    perfect = Views(batch.target_rgb, batch.target_alpha)
    terms = loss_terms(prediction_of(None), perfect, batch, config, None)
    assert list(terms) == term_names(replace(config, avas=False)) == ["render_l2"]
    assert total(terms, config).tolist() == [0.0]


def test_bent_errors_are_squares_where_small_and_logarithms_where_large(beans: Beans) -> None:
    config = replace(CONFIG, bend=0.01, avas=False)
    batch = batch_of(beans, config, 0)

    def terms_at(*offsets: float) -> dict[str, torch.Tensor]:
        """Return the terms where each view is off by as much."""
        off = torch.tensor(offsets)[None, :, None, None, None]
        rendered = Views(batch.target_rgb + off, batch.target_alpha + off)
        return loss_terms(prediction_of(None), rendered, batch, config, None)

    views = config.views_per_sample
    for name in ("render_l2", "render_alpha"):
        small = float(terms_at(*[1e-3] * views)[name])
        assert small == pytest.approx(1e-6, rel=1e-3)  # e / bend is 1e-4
        large = float(terms_at(*[10.0] * views)[name])
        assert large == pytest.approx(0.01 * math.log(100 / 0.01), rel=1e-3)
        # It is a mean over views of what each view's error counts, not the other way round.
        one = float(terms_at(10.0, *[0.0] * (views - 1))[name])
        assert one == pytest.approx(large / views, rel=1e-3)


@pytest.mark.weights
def test_lpips_in_bf16_is_nearly_lpips_and_float32(beans: Beans) -> None:
    g = torch.Generator().manual_seed(0)
    model = replace(CONFIG.model, size_px=64)  # AlexNet takes no smaller ones
    batch = batch_of(beans, replace(CONFIG, model=model), 0)
    ours = (batch.target_rgb + 0.05 * torch.randn(batch.target_rgb.shape, generator=g)).clamp(0, 1)
    perceptual = load_perceptual(64)

    def lpips(precision: Precision) -> tuple[float, torch.Tensor]:
        config = replace(CONFIG, avas=False, lpips_weight=0.5, precision=precision)
        drawn = ours.clone().requires_grad_()
        views = Views(drawn, batch.target_alpha)
        term = loss_terms(prediction_of(None), views, batch, config, perceptual)["render_lpips"]
        assert term.dtype == torch.float32
        term.sum().backward()
        assert drawn.grad is not None
        return term.item(), drawn.grad

    (whole, its_gradient), (half, gradient) = lpips("fp32"), lpips("bf16")
    assert half == pytest.approx(whole, rel=0.05)  # eight bits
    assert half != whole
    assert torch.cosine_similarity(gradient.flatten(), its_gradient.flatten(), dim=0) > 0.97


def gaussians_of(
    color: torch.Tensor,
    opacity: torch.Tensor,
    *,
    means: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
) -> Gaussians:
    """Return one sample of Gaussians, each tensor (4, H, W) or (4, H, W, 3)."""
    count = opacity.numel()
    points = (1, count, 3)
    return Gaussians.from_rgb(
        torch.zeros(points) if means is None else means.reshape(points),
        quats=torch.ones(1, count, 4),
        scales=torch.ones(points) if scales is None else scales.reshape(points),
        opacities=opacity.reshape(1, count),
        rgb=color.reshape(points),
    )


def test_the_grid_term_sees_what_all_patches_have_in_common_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(CONFIG, grid_weight=2.0)
    side, p = config.model.size_px, config.model.patch_px
    even = torch.full((4, side, side, 3), 0.4)
    solid = torch.ones(4, side, side)

    def spread(color: torch.Tensor, opacity: torch.Tensor = solid) -> float:
        return float(grid_spread(gaussians_of(color, opacity), config.model))

    assert spread(even) == pytest.approx(0, abs=1e-12)
    streaked = even.clone()
    streaked[1:, :, p - 1 :: p] += 0.2  # one column of each patch, in every patch
    share = 1 / p
    by_means = 0.04 * share * (1 - share)
    assert spread(streaked) > by_means
    with monkeypatch.context() as colors_alone:
        colors_alone.setattr(losses, "DETAIL_SHARE", 0.0)
        assert spread(streaked) == pytest.approx(by_means, rel=1e-4)
    in_front = even.clone()
    in_front[0, :, p - 1 :: p] += 0.2  # the portrait's own pixels may do as they like
    assert spread(in_front) == pytest.approx(0, abs=1e-12)
    one_patch = even.clone()
    one_patch[1, :p, :p] = torch.rand(p, p, 3, generator=torch.Generator().manual_seed(0))
    patches = (side // p) ** 2
    assert spread(one_patch) < 0.1 / patches  # detail of one patch hardly counts
    unseen = solid.clone()
    unseen[1:, :, p - 1 :: p] = 0.0
    assert spread(streaked, unseen) == pytest.approx(0, abs=1e-6)  # and what nobody sees does not
    assert weight_of("gaussian_grid", config) == 2.0
    assert term_names(config)[-1] == "gaussian_grid"


def test_the_grid_term_sees_lines_that_are_bright_here_and_dark_there() -> None:
    model = replace(CONFIG.model, size_px=64, patch_px=8)
    g = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (4, 64, 8, 1), generator=g) * 2.0 - 1  # of a row of a patch
    signs[:, 1::2] = -signs[:, ::2]  # so that a place's mean is that of all

    def spread(columns: torch.Tensor) -> float:
        lit = 0.05 * signs * F.one_hot(columns, 8)  # (4, 64, 8, 8)
        color = 0.4 + lit.flatten(2)[..., None].expand(4, 64, 64, 3)
        return float(grid_spread(gaussians_of(color, torch.ones(4, 64, 64)), model))

    one_column = spread(torch.full((4, 64, 8), 6))
    any_column = spread(torch.randint(0, 8, (4, 64, 8), generator=g))
    assert one_column > 10 * any_column


def test_the_grid_term_sees_small_columns_and_rows_drawn_together() -> None:
    model = replace(CONFIG.model, size_px=64, patch_px=8)
    color, solid = torch.full((4, 64, 64, 3), 0.4), torch.ones(4, 64, 64)
    pixel = 2 * model.radius * math.tan(math.radians(model.vertical_fov_deg) / 2) / 64
    g = torch.Generator().manual_seed(0)

    def spread(**of_gaussians: torch.Tensor) -> float:
        return float(grid_spread(gaussians_of(color, solid, **of_gaussians), model))

    sizes = torch.ones(4, 64, 64, 3)
    sizes[1:, :, 6::8] = math.exp(-0.2)
    by_sizes = losses.SIZE_SHARE * 0.2**2 * 7 / 64
    assert spread(scales=sizes) == pytest.approx(by_sizes, rel=1e-4)
    anywhere = sizes.flatten(0, 2)[torch.randperm(sizes[..., 0].numel(), generator=g)]
    assert spread(scales=anywhere) < 0.1 * by_sizes

    rows = torch.arange(64.0)
    flat = torch.zeros(4, 64, 64, 3)
    flat[..., 1] = rows[:, None] * pixel
    flat[..., 0] = rows * pixel
    assert spread(means=flat) == pytest.approx(0, abs=1e-9)  # edges of a picture are no streaks
    together = flat.clone()
    together[1:, :, :, 1] -= 0.1 * (rows % 8 - 3.5)[:, None] * pixel
    # Within a patch all steps stay the same; its first and last row step 0.8 / 3 px off the others.
    step = 0.8 / 3
    by_steps = losses.STEP_SHARE * step**2 / 4 / 3  # two rows of eight, one axis of three
    assert spread(means=together) == pytest.approx(by_steps, rel=0.2)  # edges have no step
    far = flat.clone()
    far[1:, ::8, :, 2] = 100.0
    near = flat.clone()
    near[1:, ::8, :, 2] = 7 * pixel
    assert spread(means=far) == pytest.approx(spread(means=near), rel=1e-3)  # no longer than that


def test_a_term_that_is_not_finite_is_named_with_its_sample() -> None:
    terms = {"render_l2": torch.ones(2), "image_l2": torch.tensor([1.0, torch.nan])}
    check_finite_terms(terms, torch.tensor([1.0, 0.0]), ["a", "b"], 7)  # b does not count
    with pytest.raises(TrainingDiverged, match=r"image_l2 is not finite after 7 samples, for b;"):
        check_finite_terms(terms, torch.ones(2), ["a", "b"], 7)


def test_a_diverging_update_stops_and_leaves_the_weights_alone(beans: Beans) -> None:
    trainee = loop.make_trainee(
        PAPER_CONFIG, MACHINE, loop.make_fabric(PAPER_CONFIG, MACHINE), None
    )
    samples = HeadSamples(beans, PAPER_CONFIG)
    whole = batch_of(beans, PAPER_CONFIG, 0, 1)
    broken = whole.target_rgb.clone()
    broken[1, 0, 0, 0, 0] = torch.inf
    share = Share((replace(whole, target_rgb=broken),), ())
    before = {name: w.clone() for name, w in trainee.model.state_dict().items()}
    with pytest.raises(TrainingDiverged, match=r"render_l2 .* for Digital_.*/plain \(sample 1\);"):
        loop.update(trainee, share, 0, samples.id_of)
    after = trainee.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_gaussians_that_are_not_finite_are_named_with_their_sample(beans: Beans) -> None:
    trainee = loop.make_trainee(
        PAPER_CONFIG, MACHINE, loop.make_fabric(PAPER_CONFIG, MACHINE), None
    )
    samples = HeadSamples(beans, PAPER_CONFIG)
    share = Share((batch_of(beans, PAPER_CONFIG, 0),), ())
    with torch.no_grad():
        trainee.model.gaussian_decoder.upsample.bias.fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match=r"Gaussians\.means is not finite .* \(sample 0\)"):
        loop.update(trainee, share, 0, samples.id_of)


def test_a_gradient_that_is_not_finite_stops_and_leaves_the_weights_alone(beans: Beans) -> None:
    trainee = loop.make_trainee(
        PAPER_CONFIG, MACHINE, loop.make_fabric(PAPER_CONFIG, MACHINE), None
    )
    samples = HeadSamples(beans, PAPER_CONFIG)
    share = Share((batch_of(beans, PAPER_CONFIG, 0, 1),), ())
    weight = trainee.model.gaussian_decoder.last.bias
    assert isinstance(weight, torch.nn.Parameter)
    weight.register_hook(lambda gradient: gradient * torch.nan)
    before = {name: w.clone() for name, w in trainee.model.state_dict().items()}
    with pytest.raises(TrainingDiverged, match=r"gradient is not finite .*sample 0\).*sample 1\)"):
        loop.update(trainee, share, 0, samples.id_of)
    after = trainee.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
