"""Operations on strands (n, K, 3): cut, clump, curl, frizz."""

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads.meshes import unit


def shortened(strands: NDArray, shares: NDArray) -> NDArray:
    """Resample each strand to the first ``shares`` (n,) of its length, root kept."""
    count, points, _ = strands.shape
    place = shares[:, None] * np.arange(points)[None]
    low = np.minimum(place.astype(int), points - 2)
    rest = (place - low)[..., None]
    rows = np.arange(count)[:, None]
    return strands[rows, low] * (1 - rest) + strands[rows, low + 1] * rest


def cut_where(strands: NDArray, beyond: NDArray, slack: NDArray | float = 0.0) -> NDArray:
    """Shorten strands to end at their first point with ``beyond`` (n, K) > 0.

    Args:
        strands: (n, K, 3).
        beyond: signed distance past the blade.
        slack: how far single hairs may pass it.
    """
    points = strands.shape[1]
    past = beyond > np.broadcast_to(np.asarray(slack), (len(strands),))[:, None]
    past[:, 0] = False
    first = np.where(past.any(1), past.argmax(1), points)
    rows = np.arange(len(strands))
    last = np.minimum(first, points - 1)
    here, before = beyond[rows, last], beyond[rows, last - 1]
    limit = np.broadcast_to(np.asarray(slack), (len(strands),))
    inside = np.clip((limit - before) / np.where(here > before, here - before, 1.0), 0, 1)
    end = np.where(first < points, last - 1 + inside, points - 1)
    return shortened(strands, np.clip(end / (points - 1), 0.04, 1))


def gathered_into(strands: NDArray, centers: NDArray, strength: NDArray) -> NDArray:
    """Pull strands toward the paths of their clump's centre, more toward the tip.

    Args:
        strands: (n, K, 3).
        centers: (n, K, 3) the centre strand of each hair's clump.
        strength: (n,) in [0, 1] at the tip.
    """
    along = np.linspace(0, 1, strands.shape[1])[None, :, None]
    weight = strength[:, None, None] * along**0.8
    start = strands[:, :1] - centers[:, :1]
    return strands * (1 - weight) + (centers + start * (1 - along)) * weight


def frames(strands: NDArray) -> tuple[NDArray, NDArray]:
    """Return two unit fields perpendicular to the strands that turn as little as possible."""
    tangents = unit(np.gradient(strands, axis=1))
    first = np.empty_like(strands)
    seed = np.cross(tangents[:, 0], np.array([0.3, 0.2, 0.93]))
    first[:, 0] = unit(seed)
    for k in range(1, strands.shape[1]):
        carried = first[:, k - 1]
        along = (carried * tangents[:, k]).sum(-1, keepdims=True)
        first[:, k] = unit(carried - along * tangents[:, k])
    return first, np.cross(tangents, first)


def curled(
    strands: NDArray, radius: float, turns: NDArray, phase: NDArray, spread: NDArray
) -> NDArray:
    """Wind strands into helices.

    Args:
        strands: (n, K, 3); K should be at least six times the turns.
        radius: of the helix, reached after a quarter of the strand.
        turns: (n,) along the whole strand.
        phase: (n,) at the root, radians.
        spread: (n,) factor on the radius.
    """
    along = np.linspace(0, 1, strands.shape[1])[None]
    angle = phase[:, None] + 2 * np.pi * turns[:, None] * along
    size = radius * spread[:, None] * np.clip(along * 4, 0, 1)
    first, second = frames(strands)
    return (
        strands
        + first * (np.cos(angle) * size)[..., None]
        + second * (np.sin(angle) * size)[..., None]
    )


def frizzed(strands: NDArray, amplitude: float, rng: np.random.Generator) -> NDArray:
    """Add two slow random waves per axis, growing from the root."""
    count, points, _ = strands.shape
    along = np.linspace(0, 1, points)[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (2, count, 1, 3))
    pace = rng.uniform(3, 8, (2, count, 1, 3))
    wave = np.sin(phase[0] + pace[0] * along) + 0.6 * np.sin(phase[1] + 2 * pace[1] * along)
    return strands + amplitude * wave * along
