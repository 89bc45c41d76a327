"""Metrics are what their reference implementations are, and keep the promises of the table."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from a3d_bench.errors import BenchError
from a3d_bench.metrics import METRICS, metric_specs, unavailable_metrics
from a3d_bench.metrics.flip import Flip, flip_map
from a3d_bench.metrics.identity import ARCFACE_POINTS, arcface_patch
from a3d_bench.metrics.pixels import PSNR_CAP_DB, Psnr, Ssim
from a3d_bench.metrics.spec import Metric, check_golden, golden_pictures
from tests.bench.scored_run import picture

AVAILABLE_HERE = ("psnr", "ssim", "flip")


def pair(seed: int) -> tuple[Tensor, Tensor]:
    """A picture and a worse one, of a size that no block divides."""
    g = torch.Generator().manual_seed(seed)
    size = int(torch.randint(33, 60, (), generator=g)), int(torch.randint(33, 60, (), generator=g))
    a = torch.rand(3, *size, generator=g)
    strength = float(torch.rand((), generator=g))
    return a, (a + strength * torch.randn(a.shape, generator=g)).clamp(0, 1)


def value(metric: Metric, a: Tensor, b: Tensor) -> float:
    return metric.compare(metric.describe(a), metric.describe(b))


def test_psnr_and_ssim_are_those_of_skimage() -> None:
    from skimage import metrics

    structural_similarity: Callable[..., Any] = metrics.structural_similarity
    for seed in range(100):
        a, b = pair(seed)
        x, y = a.double().numpy(), b.double().numpy()
        # Both in float64: what differs is the order of sums.
        assert value(Psnr(), a, b) == pytest.approx(
            metrics.peak_signal_noise_ratio(x, y, data_range=1), abs=1e-9
        )
        expected = structural_similarity(
            x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
            channel_axis=0,
        )  # fmt: skip
        assert value(Ssim(), a, b) == pytest.approx(float(expected), abs=1e-9)


def test_ssim_survives_flat_pictures() -> None:
    # Variances are differences of equal numbers here: single precision would give noise.
    white = torch.ones(3, 40, 40)
    grey = torch.full((3, 40, 40), 0.5)
    assert value(Ssim(), white, white) == pytest.approx(1, abs=1e-12)
    c1 = 0.01**2
    assert value(Ssim(), white, grey) == pytest.approx((2 * 0.5 + c1) / (1.25 + c1), abs=1e-9)


def test_psnr_of_equal_pictures_is_its_cap_and_nothing_is_above() -> None:
    a = picture(0, 256)
    b = a.clone()
    b[0, 0, 0] += 1 / 255 * (-1 if float(b[0, 0, 0]) > 0.5 else 1)
    assert value(Psnr(), a, a) == PSNR_CAP_DB == METRICS["psnr"].identity
    one_level = 10 * math.log10(3 * 256 * 256 * 255**2)
    assert one_level > PSNR_CAP_DB
    assert value(Psnr(), a, b) == PSNR_CAP_DB


def test_flip_is_its_authors_and_the_map_has_its_mean() -> None:
    import flip_evaluator

    evaluate: Callable[..., Any] = flip_evaluator.evaluate
    a, b = picture(0), picture(1)
    x, y = (np.ascontiguousarray(p.movedim(0, -1).numpy()) for p in (a, b))
    _, mean, _ = evaluate(x, y, "LDR")
    got = value(Flip(), a, b)
    assert got == pytest.approx(float(mean), abs=1e-6)  # theirs is summed in single precision
    assert float(flip_map(x, y).mean(dtype=np.float64)) == pytest.approx(got, abs=1e-12)


@pytest.mark.parametrize("id_", AVAILABLE_HERE)
def test_a_picture_is_best_compared_with_itself(id_: str) -> None:
    spec = METRICS[id_]
    metric = spec.load()
    a = picture(3)
    near, far = (a + 0.05).clamp(0, 1), picture(4)
    itself, nearer, farther = (value(metric, a, b) for b in (a, near, far))
    assert itself == pytest.approx(spec.identity, abs=1e-7)
    better = (itself, nearer, farther)
    assert sorted(better, reverse=spec.direction == "higher") == list(better)


@pytest.mark.parametrize("id_", AVAILABLE_HERE)
def test_describing_changes_no_picture_and_comparing_no_description(id_: str) -> None:
    metric = METRICS[id_].load()
    a, b = picture(5), picture(6)
    copy = a.clone()
    described = metric.describe(a)
    first = metric.compare(described, metric.describe(b))
    metric.compare(described, metric.describe(picture(7)))
    assert metric.compare(described, metric.describe(b)) == first
    assert torch.equal(a, copy)


@pytest.mark.parametrize("spec", METRICS.values(), ids=list(METRICS))
def test_every_metric_keeps_the_contract(spec: Any) -> None:
    assert METRICS[spec.id] is spec
    assert spec.direction in ("higher", "lower")
    assert spec.profiles
    assert set(spec.profiles) <= {"paper", "embedded"}
    assert math.isfinite(spec.identity)
    # A network is named in the id, or there is none.
    assert ("[" in spec.id) == (spec.weights is not None)
    if spec.weights is not None:
        assert set(spec.profiles) <= set(spec.weights.profiles)
    assert spec.needs_face == spec.id.startswith("csim")
    reason = spec.available()
    assert reason is None or (reason.startswith(f"{spec.id} needs") and "run `" in reason)


def test_both_profiles_have_every_measure_that_exists_in_them() -> None:
    def measures(profile: str) -> set[str]:
        return {m.id.split("[")[0] for m in METRICS.values() if profile in m.profiles}

    assert measures("paper") == {"psnr", "ssim", "lpips", "csim", "dreamsim", "flip"}
    assert measures("embedded") == {"psnr", "ssim", "lpips", "csim", "flip"}
    csim = [m for m in METRICS.values() if m.id.startswith("csim")]
    assert all(len(m.profiles) == 1 for m in csim), "the two CSIM columns never mix"


def test_a_network_that_is_not_here_is_told_with_the_command(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path))
    reasons = unavailable_metrics(["psnr", "lpips[vgg]"])
    assert reasons == {
        "lpips[vgg]": "lpips[vgg] needs vgg16.ckpt: run `a3d-bench weights fetch lpips-vgg`"
    }
    with pytest.raises(BenchError, match=r"weights fetch lpips-vgg`; or leave lpips\[vgg\] out"):
        METRICS["lpips[vgg]"].load()


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BenchError, match=r"named 'lpips'; expected some of psnr, ssim, lpips\[al"):
        metric_specs(["psnr", "lpips"])


def test_a_network_without_its_golden_value_is_refused() -> None:
    with pytest.raises(BenchError, match=r"lpips\[alex\] finds 0\.30000 .* expected 0\.19704"):
        check_golden("lpips[alex]", 0.3, 0.19704, 1e-4)
    with pytest.raises(BenchError, match="nan"):
        check_golden("lpips[alex]", math.nan, 0.19704, 1e-4)


def test_golden_pictures_are_pictures_of_integers() -> None:
    for p in golden_pictures():
        levels = p * 255
        assert torch.equal(levels.round() / 255, p)
        assert p.shape == (3, 64, 64)


def test_the_crop_of_a_face_has_its_points_where_arcface_wants_them() -> None:
    g = torch.Generator().manual_seed(0)
    template = torch.tensor(ARCFACE_POINTS)
    for _ in range(20):
        scale, angle = (float(x) for x in torch.rand(2, generator=g) * 2 + 0.2)
        c, s = math.cos(angle), math.sin(angle)
        shift = 200 * torch.rand(2, generator=g)
        points = scale * template @ torch.tensor([[c, s], [-s, c]]) + shift
        patch = arcface_patch(points)
        torch.testing.assert_close(
            patch.to_picture(template / 112), points, atol=1e-3, rtol=0
        )  # float32 pixels of some hundreds


def test_the_crop_of_an_irregular_face_is_the_best_similarity() -> None:
    from skimage.transform import SimilarityTransform

    g = torch.Generator().manual_seed(1)
    points = 2 * torch.tensor(ARCFACE_POINTS) + 6 * torch.randn(5, 2, generator=g)
    other = SimilarityTransform.from_estimate(np.array(ARCFACE_POINTS), points.double().numpy())
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
    expected = torch.from_numpy(other(112 * corners.numpy())).float()
    torch.testing.assert_close(
        arcface_patch(points).to_picture(corners), expected, atol=1e-3, rtol=0
    )
