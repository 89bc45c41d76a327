"""Who sees what in which order: Latin squares, balanced over participants.

Williams squares (E. J. Williams, "Experimental designs balanced for the estimation of residual
effects of treatments", Australian Journal of Scientific Research A 2, 1949): each of n items stands
once in each place, and follows each other item equally often: in one square for even n, over a
square and its mirror image for odd n.
"""

import numpy as np

Order = tuple[int, ...]


def williams_squares(count: int) -> tuple[tuple[Order, ...], ...]:
    """Return the squares of a balanced design of this many items: one, or two for an odd number."""
    first = [0]
    low, high = 1, count - 1
    while len(first) < count:
        first.append(low if len(first) % 2 else high)
        if len(first) % 2:
            high -= 1
        else:
            low += 1
    square = tuple(tuple((item + shift) % count for item in first) for shift in range(count))
    if count % 2 == 0 or count == 1:
        return (square,)
    return square, tuple(row[::-1] for row in square)


def balanced_orders(count: int, rows: int, generator: np.random.Generator) -> list[Order]:
    """Return this many orders of items; each stands in each place equally often, give or take one.

    Squares are used up whole, in random order and with shuffled rows, so that no participant's
    place in the list tells an order.

    Args:
        count: items, at least one.
        rows: how many orders.
        generator: of the shuffles.
    """
    squares = williams_squares(count)
    made: list[Order] = []
    while len(made) < rows:
        for square in generator.permutation(len(squares)).tolist():
            made.extend(squares[square][row] for row in generator.permutation(count).tolist())
    return made[:rows]


def balanced_choices(
    items: list[str], rows: int, each: int, generator: np.random.Generator
) -> list[tuple[str, ...]]:
    """Return ``each`` different items for each row; all are chosen equally often, give or take one.

    Args:
        items: at least ``each``.
        rows: how many choices.
        each: items in a choice.
        generator: of the order in which items come around.
    """
    around = [items[index] for index in generator.permutation(len(items)).tolist()]
    return [
        tuple(around[(row * each + place) % len(around)] for place in range(each))
        for row in range(rows)
    ]
