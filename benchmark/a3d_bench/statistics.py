"""What a handful of heads can tell: intervals, paired tests and ties, by subject.

Views of one head are not independent draws: an interval over images claims far too much (with
10 subjects, 80 views each and a correlation of 0.5 within a subject, it covers the truth one time
in four). So every function here takes one number a subject, and resamples subjects.

- *Interval*: bootstrap-t (Efron and Tibshirani 1993, section 12.5): subjects are drawn with
  replacement and the mean is studentised in each draw. At 10 subjects it covers close to 95 %,
  where the percentile and BCa intervals of the mean, which lack Student's correction for few
  draws, cover 90 to 92 %. Below `FEWEST_TO_RESAMPLE` subjects too few different draws exist, and
  Student's t interval stands in; `Interval.rule` says which one it is.
- *Paired test*: permutation of the signs of the differences; exact while all of them can be
  listed.
- *Several tests*: Holm (1979).
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
RESAMPLES = 9999
FEWEST_TO_RESAMPLE = 6
EXACT_UP_TO = 16
"""Most subjects whose sign flips (65,536) are all listed."""
SAMPLED_FLIPS = 19_999
POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """An interval of a mean over subjects.

    Attributes:
        low: lower end.
        high: upper end.
        rule: how it was made; ``student-t`` where there are too few subjects to resample.
    """

    low: float
    high: float
    rule: Literal["bootstrap-t", "student-t"]

    @property
    def half_width(self) -> float:
        """Half of its length."""
        return (self.high - self.low) / 2


def subject_means(
    values: Sequence[float] | np.ndarray, subjects: Sequence[str]
) -> dict[str, float]:
    """Return one mean a subject, subjects in sorted order: every view weighs the same in it."""
    gathered: dict[str, list[float]] = {}
    for value, subject in zip(np.asarray(values, float).tolist(), subjects, strict=True):
        gathered.setdefault(subject, []).append(value)
    return {
        subject: math.fsum(gathered[subject]) / len(gathered[subject])
        for subject in sorted(gathered)
    }


def standard_error(means: Float[np.ndarray, " S"]) -> float | None:
    """Return the standard error of the mean over S subjects, or None for one subject."""
    if len(means) < 2:
        return None
    return float(np.std(means, ddof=1) / math.sqrt(len(means)))


def clustered_interval(
    means: Float[np.ndarray, " S"],
    *,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """Return the interval of the mean over subjects, or None for one subject.

    Args:
        means: one number a subject, such as its mean over views, or its difference between two
            methods.
        seed: of the draws; the same subjects in the same order give the same interval.
        level: the coverage that it aims at.
        resamples: draws of subjects.
    """
    count = len(means)
    error = standard_error(means)
    if error is None:
        return None
    center = float(np.mean(means))
    if count < FEWEST_TO_RESAMPLE:
        from scipy import stats

        reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
        return Interval(center - reach, center + reach, "student-t")
    if error == 0:
        return Interval(center, center, "bootstrap-t")
    drawn = _studentised(means, _draw_counts(count, seed, resamples))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(center - float(high) * error, center - float(low) * error, "bootstrap-t")


def sign_flip_p(differences: Float[np.ndarray, " S"], *, seed: int = 0) -> float:
    """Return the two-sided p of "no difference" for paired differences, one a subject.

    Under the null each subject's difference could as well have the other sign. Exact up to
    `EXACT_UP_TO` subjects; beyond, `SAMPLED_FLIPS` flips are drawn and the observed one counts
    as one of them, so that p is never 0.
    """
    count = len(differences)
    if count == 0 or not np.any(differences):
        return 1.0
    signs = _all_signs(count) if count <= EXACT_UP_TO else _drawn_signs(count, seed)
    sums = np.abs(signs @ differences)
    observed = abs(float(np.sum(differences)))
    # Sums that are equal on paper differ in their last bits.
    reached = int(np.count_nonzero(sums >= observed - 1e-12 * float(np.sum(np.abs(differences)))))
    if count <= EXACT_UP_TO:
        return reached / len(signs)
    return (reached + 1) / (len(signs) + 1)


def smallest_p(count: int) -> float:
    """Return the least p that `sign_flip_p` can give for this many subjects."""
    if count == 0:
        return 1.0
    return 2.0 ** (1 - count) if count <= EXACT_UP_TO else 1 / (SAMPLED_FLIPS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for being one of several (Holm 1979), in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def minimum_detectable(differences: Float[np.ndarray, " S"]) -> float | None:
    """Return the true difference that a paired test at 5 % would see four times in five.

    From the spread of the differences at hand: ``(t_{0.975} + t_{0.8}) * s / sqrt(S)`` with S - 1
    degrees of freedom. None for one subject.
    """
    error = standard_error(differences)
    if error is None:
        return None
    from scipy import stats

    freedom = len(differences) - 1
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom) + stats.t.ppf(POWER, freedom)) * error


def _studentised(
    means: Float[np.ndarray, " S"], counts: Float[np.ndarray, "R S"]
) -> Float[np.ndarray, " T"]:
    """Return (mean* - mean) / error* over draws of subjects; draws without spread are skipped."""
    centered = means - np.mean(means)
    shift = counts @ centered / len(means)
    square = counts @ centered**2 / len(means)
    spread = (square - shift**2) * len(means) / (len(means) - 1)
    kept = spread > 1e-12 * float(np.mean(centered**2))
    return shift[kept] / np.sqrt(spread[kept] / len(means))


@functools.lru_cache(maxsize=32)
def _draw_counts(count: int, seed: int, resamples: int) -> Float[np.ndarray, "R S"]:
    """Return how often each of ``count`` subjects is in each draw."""
    generator = np.random.default_rng([seed, count])
    return generator.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)


@functools.lru_cache(maxsize=32)
def _all_signs(count: int) -> Float[np.ndarray, "R S"]:
    return np.array(list(itertools.product((1.0, -1.0), repeat=count)))


@functools.lru_cache(maxsize=8)
def _drawn_signs(count: int, seed: int) -> Float[np.ndarray, "R S"]:
    generator = np.random.default_rng([seed, count])
    return generator.choice(np.array([-1.0, 1.0]), size=(SAMPLED_FLIPS, count))
