"""Heat maps by angle and curves by view, as coordinates and colours: templates only draw them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from a3d_bench.aggregate import Entrant, Frame, Labels, MetricTraits

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7b4bb3", "#666666")
_VIRIDIS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
"""Eight steps of matplotlib's map of this name (CC0): even in lightness, safe for colour blind."""

_CELL_W, _CELL_H = 30, 22
_LEFT, _TOP, _BOTTOM = 44, 4, 36
_MOST_AZIMUTHS, _MOST_ELEVATIONS = 24, 9
_AZIMUTH_BIN_DEG, _ELEVATION_BIN_DEG = 22.5, 10.0
_PLOT_W, _PLOT_H = 680, 240
_PLOT_LEFT, _PLOT_TOP, _PLOT_BOTTOM, _PLOT_RIGHT = 52, 10, 40, 12


@dataclass(frozen=True)
class Patch:
    """A coloured cell of a heat map.

    Attributes:
        x: left edge.
        y: upper edge.
        width: of the cell.
        height: of the cell.
        fill: its colour.
        ink: colour of the text in it.
        text: the value.
        tip: what it is, in words.
    """

    x: float
    y: float
    width: float
    height: float
    fill: str
    ink: str
    text: str
    tip: str

    @property
    def center_x(self) -> float:
        """X of the middle."""
        return self.x + self.width / 2

    @property
    def center_y(self) -> float:
        """Y of the middle."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Label:
    """A text on a chart."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class HeatMap:
    """One method's metric by azimuth and elevation.

    Attributes:
        title: of the method.
        width: of the drawing.
        height: of the drawing.
        patches: one a direction.
        azimuths: labels below.
        elevations: labels at the left.
    """

    title: str
    width: float
    height: float
    patches: tuple[Patch, ...]
    azimuths: tuple[Label, ...]
    elevations: tuple[Label, ...]


@dataclass(frozen=True)
class HeatMaps:
    """A metric's maps, one a method, on one colour scale.

    Attributes:
        title: of the metric.
        maps: one a method.
        scale: colours from worst to best.
        worst: label of the scale's left end.
        best: label of its right end.
    """

    title: str
    maps: tuple[HeatMap, ...]
    scale: tuple[str, ...]
    worst: str
    best: str


@dataclass(frozen=True)
class Curve:
    """One method's line.

    Attributes:
        title: of the method.
        color: of the line.
        pieces: coordinates of each unbroken piece, as SVG's ``points``.
        dashed: for ceilings.
    """

    title: str
    color: str
    pieces: tuple[str, ...]
    dashed: bool


@dataclass(frozen=True)
class Curves:
    """A metric against the view index, one line a method.

    Attributes:
        title: of the metric.
        width: of the drawing.
        height: of the drawing.
        left: x of the vertical axis.
        right: x where grid lines end.
        curves: the lines.
        x_labels: below.
        y_labels: at the left, with the y of their grid line.
        caption: of the horizontal axis.
    """

    title: str
    width: float
    height: float
    left: float
    right: float
    curves: tuple[Curve, ...]
    x_labels: tuple[Label, ...]
    y_labels: tuple[Label, ...]
    caption: Label


def heat_maps(rows: Frame, metric: MetricTraits, entrants: Sequence[Entrant]) -> HeatMaps | None:
    """Return a metric by direction, or None where it has no values.

    Args:
        rows: of `a3d_bench.aggregate.checked_scores`, of one alignment.
        metric: that is shown.
        entrants: one map each.
    """
    wanted = rows[(rows["metric"] == metric.id) & rows["value"].notna()]
    if wanted.empty:
        return None
    azimuths = _wrapped(_bins(_wrapped(wanted["azimuth_deg"]), _AZIMUTH_BIN_DEG, _MOST_AZIMUTHS))
    elevations = _bins(wanted["elevation_deg"], _ELEVATION_BIN_DEG, _MOST_ELEVATIONS)
    wanted = wanted.assign(azimuth=azimuths, elevation=elevations)
    by_subject = wanted.groupby(["method", "elevation", "azimuth", "subject"])["value"].mean()
    means = by_subject.groupby(["method", "elevation", "azimuth"]).agg(["mean", "size"])
    grid = {
        key: (float(m), int(n)) for key, (m, n) in zip(means.index, means.to_numpy(), strict=True)
    }
    low, high = _ends([mean for mean, _ in grid.values()])
    columns, lines = sorted(set(azimuths)), sorted(set(elevations), reverse=True)
    maps = tuple(
        _heat_map(entrant, metric, grid, columns, lines, (low, high))
        for entrant in entrants
        if any(key[0] == entrant.id for key in grid)
    )
    ends = (low, high) if metric.higher_is_better else (high, low)
    worst, best = (f"{end:.{_short(metric)}f}" for end in ends)
    return HeatMaps(f"{metric.title} {metric.arrow}", maps, _VIRIDIS, worst, best)


def curves(rows: Frame, metric: MetricTraits, entrants: Sequence[Entrant]) -> Curves | None:
    """Return a metric against the view's index, or None where it has no values.

    Args:
        rows: of `a3d_bench.aggregate.checked_scores`, of one alignment.
        metric: that is shown.
        entrants: one line each.
    """
    wanted = rows[(rows["metric"] == metric.id) & rows["value"].notna()]
    if wanted.empty:
        return None
    by_subject = wanted.groupby(["method", "view", "subject"])["value"].mean()
    means = by_subject.groupby(["method", "view"]).mean()
    series: dict[str, dict[int, float]] = {}
    for (method, view), mean in means.items():
        series.setdefault(str(method), {})[int(view)] = float(mean)
    last = max(int(wanted["view"].max()), 1)
    ticks = _round_ticks(*_ends([mean for line in series.values() for mean in line.values()]))
    low, high = ticks[0], ticks[-1]

    def x_of(view: int) -> float:
        return _PLOT_LEFT + view / last * (_PLOT_W - _PLOT_LEFT - _PLOT_RIGHT)

    def y_of(value: float) -> float:
        span = _PLOT_H - _PLOT_TOP - _PLOT_BOTTOM
        return _PLOT_TOP + (high - value) / (high - low) * span

    step = max(1, math.ceil((last + 1) / 10))
    return Curves(
        f"{metric.title} {metric.arrow}",
        _PLOT_W,
        _PLOT_H,
        _PLOT_LEFT,
        _PLOT_W - _PLOT_RIGHT,
        tuple(
            Curve(
                entrant.title,
                PALETTE[index % len(PALETTE)],
                _pieces(series[entrant.id], x_of, y_of),
                entrant.sees_truth,
            )
            for index, entrant in enumerate(entrants)
            if entrant.id in series
        ),
        tuple(
            Label(round(x_of(view), 1), _PLOT_H - _PLOT_BOTTOM + 16, str(view))
            for view in range(0, last + 1, step)
        ),
        tuple(Label(_PLOT_LEFT - 6, round(y_of(tick), 1), f"{tick:g}") for tick in ticks),
        Label((_PLOT_LEFT + _PLOT_W - _PLOT_RIGHT) / 2, _PLOT_H - 6, "index of the view"),
    )


def _heat_map(
    entrant: Entrant,
    metric: MetricTraits,
    grid: Mapping[Any, tuple[float, int]],
    columns: Sequence[float],
    lines: Sequence[float],
    ends: tuple[float, float],
) -> HeatMap:
    patches = []
    for row, elevation in enumerate(lines):
        for column, azimuth in enumerate(columns):
            mean, count = grid.get((entrant.id, elevation, azimuth), (None, 0))
            share = 0.0 if mean is None else (mean - ends[0]) / (ends[1] - ends[0])
            share = share if metric.higher_is_better else 1 - share
            fill = "none" if mean is None else _color(share)
            place = f"azimuth {azimuth:g}°, elevation {elevation:g}°"
            value = "no value" if mean is None else f"{mean:.{metric.decimals}f}, {count} heads"
            patches.append(
                Patch(
                    _LEFT + column * _CELL_W,
                    _TOP + row * _CELL_H,
                    _CELL_W - 1,
                    _CELL_H - 1,
                    fill,
                    "#777777" if mean is None else ("#111111" if share > 0.55 else "#ffffff"),
                    ""
                    if mean is None
                    else f"{mean:.{_short(metric)}f}".replace("0.", ".", 1)
                    if abs(mean) < 1
                    else f"{mean:.{_short(metric)}f}",
                    f"{entrant.title}, {place}: {value}",
                )
            )
    bottom = _TOP + len(lines) * _CELL_H
    every = max(1, math.ceil(len(columns) / 9))
    return HeatMap(
        entrant.title,
        _LEFT + len(columns) * _CELL_W + 4,
        bottom + _BOTTOM,
        tuple(patches),
        tuple(
            Label(_LEFT + (i + 0.5) * _CELL_W, bottom + 14, f"{azimuth:g}°")
            for i, azimuth in enumerate(columns)
            if i % every == 0
        ),
        tuple(
            Label(_LEFT - 5, _TOP + (i + 0.5) * _CELL_H, f"{elevation:g}°")
            for i, elevation in enumerate(lines)
        ),
    )


def _short(metric: MetricTraits) -> int:
    """Return the digits that fit in a cell."""
    return 1 if metric.decimals <= 2 else 2


def _wrapped(azimuths: Labels) -> Labels:
    """Return azimuths from -180 on and below 180, so that the front is in the middle."""
    return (azimuths + 180) % 360 - 180


def _bins(angles: Labels, width_deg: float, most: int) -> Labels:
    """Return angles as they are where there are few different ones, else centres of bins."""
    exact = angles.round(1)
    if exact.nunique() <= most:
        return exact
    return (angles / width_deg).round() * width_deg


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _round_ticks(low: float, high: float) -> list[float]:
    """Return 4 to 8 round numbers that hold both ends."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    factor = next(f for f in (1, 2, 5, 10) if (high - low) / (step * f) <= 6)
    step *= factor
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(tick * step, 10) for tick in range(first, last + 1)]


def _pieces(line: Mapping[int, float], x_of: Any, y_of: Any) -> tuple[str, ...]:
    """Return the points of a line, broken where a view has no value."""
    pieces: list[list[str]] = []
    previous = None
    for view in sorted(line):
        if previous is None or view != previous + 1:
            pieces.append([])
        pieces[-1].append(f"{x_of(view):.1f},{y_of(line[view]):.1f}")
        previous = view
    return tuple(" ".join(piece) for piece in pieces)


def _color(share: float) -> str:
    """Return the colour of a share from 0 (worst) to 1 (best)."""
    place = min(max(share, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    index = min(int(place), len(_VIRIDIS) - 2)
    ends = np.array([_channels(_VIRIDIS[index]), _channels(_VIRIDIS[index + 1])], float)
    mixed = np.round(ends[0] + (place - index) * (ends[1] - ends[0])).astype(int)
    return "#" + "".join(f"{channel:02x}" for channel in mixed.tolist())


def _channels(color: str) -> list[int]:
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]
