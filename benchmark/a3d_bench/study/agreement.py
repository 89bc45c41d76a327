"""How far participants agree: Krippendorff's alpha for interval data.

K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", University of Pennsylvania, 2011:
alpha = 1 - D_o / D_e, where D_o is the mean squared difference of ratings of one unit by two
participants, and D_e the same of any two ratings. 1 is full agreement, 0 what chance gives; units
that one participant rated alone say nothing and are left out. It copes with participants who saw
different heads, which an intraclass correlation of complete tables does not.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Agreement on one question.

    Attributes:
        alpha: at most 1; None where no two ratings can be compared, or all ratings are one value.
        units: entries that at least two participants rated.
        ratings: of these.
    """

    alpha: float | None
    units: int
    ratings: int


def interval_alpha(units: Collection[Sequence[float]]) -> Agreement:
    """Return Krippendorff's alpha with squared differences.

    Args:
        units: the ratings of each unit, in any order.
    """
    pairable = [unit for unit in units if len(unit) > 1]
    everything = [rating for unit in pairable for rating in unit]
    count = len(everything)
    expected = _squared_differences(everything) / (count - 1) if pairable else 0.0
    if not expected:
        return Agreement(None, len(pairable), count)
    observed = math.fsum(_squared_differences(unit) / (len(unit) - 1) for unit in pairable)
    return Agreement(1 - observed / expected, len(pairable), count)


def _squared_differences(ratings: Sequence[float]) -> float:
    """Return the sum over ordered pairs of (a - b)^2, without listing them."""
    mean = math.fsum(ratings) / len(ratings)
    return 2 * len(ratings) * math.fsum((rating - mean) ** 2 for rating in ratings)
