"""Claims about who sees what: every place and every head equally often, and by seed."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from a3d_bench.study.design import balanced_choices, balanced_orders, williams_squares


@pytest.mark.parametrize("count", range(1, 10))
def test_squares_have_every_item_once_in_each_place(count: int) -> None:
    for square in williams_squares(count):
        assert all(sorted(row) == list(range(count)) for row in square)
        assert all(sorted(place) == list(range(count)) for place in zip(*square, strict=True))


@pytest.mark.parametrize("count", range(2, 10))
def test_every_item_follows_every_other_equally_often(count: int) -> None:
    rows = [row for square in williams_squares(count) for row in square]
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert len(follows) == count * (count - 1)
    assert len(set(follows.values())) == 1


@pytest.mark.parametrize(("count", "rows"), [(7, 32), (5, 32), (6, 32), (7, 9), (4, 3), (1, 5)])
def test_places_differ_by_one_at_most_whatever_the_number_of_participants(
    count: int, rows: int
) -> None:
    orders = balanced_orders(count, rows, np.random.default_rng(3))
    assert len(orders) == rows
    places = Counter((place, item) for order in orders for place, item in enumerate(order))
    counts = [places[place, item] for place in range(count) for item in range(count)]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("items", "rows", "each"), [(16, 32, 1), (5, 32, 2), (3, 7, 3)])
def test_heads_are_chosen_equally_often_and_never_twice_by_one_participant(
    items: int, rows: int, each: int
) -> None:
    names = [f"head-{index}" for index in range(items)]
    choices = balanced_choices(names, rows, each, np.random.default_rng(5))
    assert all(len(set(choice)) == each for choice in choices)
    counts = Counter(name for choice in choices for name in choice)
    assert max(counts[name] for name in names) - min(counts[name] for name in names) <= 1


def test_orders_are_those_of_the_seed() -> None:
    one, same, other = (balanced_orders(7, 32, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
