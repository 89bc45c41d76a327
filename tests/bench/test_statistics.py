"""Claims about intervals, tests and corrections, against simulation and other authors' code."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from a3d_bench.statistics import (
    EXACT_UP_TO,
    clustered_interval,
    holm,
    minimum_detectable,
    sign_flip_p,
    smallest_p,
    standard_error,
    subject_means,
)


def _coverage(repeats: int, *, subjects: int, seed: int) -> float:
    """How often the interval holds the truth, 0: 80 views, correlation 0.5 within a subject."""
    generator = np.random.default_rng(seed)
    names = np.repeat([f"s{i:02d}" for i in range(subjects)], 80).tolist()
    hits = 0
    for _ in range(repeats):
        shared = generator.standard_normal((subjects, 1))
        own = generator.standard_normal((subjects, 80))
        values = np.sqrt(0.5) * shared + np.sqrt(0.5) * own
        means = np.array(list(subject_means(values.ravel(), names).values()))
        interval = clustered_interval(means, seed=int(generator.integers(1 << 30)), resamples=1999)
        assert interval is not None
        hits += interval.low <= 0 <= interval.high
    return hits / repeats


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 400 repeats: the estimate's own standard error is 1.1 points, so 3 of them are allowed here.
    assert 0.917 <= _coverage(400, subjects=10, seed=1) <= 0.983


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 16])
def test_interval_covers_93_to_97_percent(subjects: int) -> None:
    # 6,000 repeats: standard error 0.3 points.
    assert 0.93 <= _coverage(6000, subjects=subjects, seed=2) <= 0.97


def test_interval_over_images_would_not_cover() -> None:
    """The reason for resampling subjects: the usual interval is far too short."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        values = np.sqrt(0.5) * (
            generator.standard_normal((10, 1)) + generator.standard_normal((10, 80))
        )
        reach = 1.96 * values.std(ddof=1) / np.sqrt(values.size)
        hits += abs(values.mean()) <= reach
    assert hits / 300 < 0.35


def test_interval_is_a_function_of_its_arguments() -> None:
    means = np.random.default_rng(0).normal(size=12)
    assert clustered_interval(means, seed=7) == clustered_interval(means, seed=7)
    assert clustered_interval(means, seed=7) != clustered_interval(means, seed=8)


def test_interval_moves_and_scales_with_the_values() -> None:
    means = np.random.default_rng(1).normal(size=12)
    base = clustered_interval(means)
    moved = clustered_interval(3 * means + 5)
    assert base is not None
    assert moved is not None
    # The draws are the same, so only rounding differs.
    np.testing.assert_allclose([moved.low, moved.high], [3 * base.low + 5, 3 * base.high + 5])


def test_few_subjects_get_students_interval_and_say_so() -> None:
    means = np.array([1.0, 2.0, 4.0])
    interval = clustered_interval(means)
    assert interval is not None
    assert interval.rule == "student-t"
    expected = stats.t.interval(0.95, 2, loc=means.mean(), scale=stats.sem(means))
    np.testing.assert_allclose([interval.low, interval.high], expected)


def test_one_subject_has_no_interval() -> None:
    assert clustered_interval(np.array([1.0])) is None
    assert standard_error(np.array([1.0])) is None
    assert minimum_detectable(np.array([1.0])) is None


def test_equal_subjects_have_an_interval_of_no_length() -> None:
    interval = clustered_interval(np.full(8, 0.25))
    assert interval is not None
    assert (interval.low, interval.high) == (0.25, 0.25)


def test_subjects_weigh_the_same_whatever_their_number_of_views() -> None:
    assert subject_means([1.0, 1.0, 1.0, 5.0], ["b", "b", "b", "a"]) == {"a": 5.0, "b": 1.0}


def test_exact_p_equals_scipys_permutation_test() -> None:
    generator = np.random.default_rng(4)
    for count in (3, 6, 9):
        gaps = generator.normal(0.4, 1, count)
        reference = stats.permutation_test(
            (gaps,), np.mean, permutation_type="samples", n_resamples=1 << 14
        )
        assert sign_flip_p(gaps) == pytest.approx(reference.pvalue, abs=1e-12)


def test_exact_p_counts_equal_sums_as_reached() -> None:
    gaps = np.array([0.1, 0.2, 0.3, -0.3])
    loop = [
        abs(sum(s * d for s, d in zip(signs, (1, 2, 3, -3), strict=True))) >= 3
        for signs in itertools.product((1, -1), repeat=4)
    ]
    assert sign_flip_p(gaps) == sum(loop) / len(loop)


def test_sampled_p_agrees_with_a_t_test_where_both_hold() -> None:
    gaps = np.random.default_rng(5).normal(0.35, 1, EXACT_UP_TO + 20)
    # 20,000 flips: standard error of p below 0.004; the two tests differ by less than that here.
    assert sign_flip_p(gaps) == pytest.approx(stats.ttest_1samp(gaps, 0)[1], abs=0.015)


def test_sampled_p_is_never_zero() -> None:
    assert sign_flip_p(np.full(40, 1.0)) == smallest_p(40) > 0


def test_unanimous_subjects_give_the_smallest_p() -> None:
    for count in (1, 2, 5, 10):
        assert sign_flip_p(np.linspace(1, 2, count)) == smallest_p(count)


def test_no_difference_is_certain() -> None:
    assert sign_flip_p(np.zeros(5)) == 1.0
    assert sign_flip_p(np.zeros(0)) == 1.0


def test_test_rejects_as_often_as_it_says() -> None:
    generator = np.random.default_rng(6)
    rejected = sum(sign_flip_p(generator.normal(size=10)) < 0.05 for _ in range(1000))
    # The exact level below 0.05 with 1,024 flips is 0.0498; 3 standard errors of 1,000 repeats.
    assert 0.03 <= rejected / 1000 <= 0.071


def test_holm_equals_statsmodels() -> None:
    p_values = np.random.default_rng(7).uniform(0, 0.2, 12).tolist()
    reference = np.asarray(multipletests(p_values, method="holm")[1], float)
    np.testing.assert_allclose(holm(p_values), reference)
    assert holm([]) == []


def test_detectable_difference_is_seen_four_times_in_five() -> None:
    generator = np.random.default_rng(8)
    size = minimum_detectable(generator.normal(size=4000) * 1.0)
    assert size is not None
    # With 4,000 subjects the spread is known, and the textbook's (1.96 + 0.84) / sqrt(n) holds.
    assert size == pytest.approx((1.96 + 0.8416) / np.sqrt(4000), rel=0.03)
