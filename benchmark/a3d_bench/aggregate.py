"""From the score table to the numbers of a report: views -> subjects -> set.

Vocabulary. An *entrant* is a method in a table; one that is shown the truth is a ceiling: it has
numbers, but takes part in no ranking. A *column* is one metric after one alignment, over all angles
or in one *stratum*. Each value of a column is a mean of subject means: every subject weighs the
same.

Two rules for what could not be scored. ``common``: views that all compared entrants have, so that
nobody is better for having failed on the hard ones; an entrant with no value at all in a column
does not empty it for the others. ``imputed``: every view counts, and a missing value is the worst
one. If the two rank differently, `Aggregate.rank_changes` says so.

Standings. The best mean of a column is ``best`` only if its paired difference to every other
entrant survives Holm's correction over all tests of the table; otherwise it and all those that it
can't be told from are ``tied``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from a3d_bench.errors import BenchError
from a3d_bench.protocol import Protocol
from a3d_bench.statistics import (
    Interval,
    clustered_interval,
    holm,
    minimum_detectable,
    sign_flip_p,
    smallest_p,
    standard_error,
    subject_means,
)
from a3d_bench.types import STATUSES, STRATA, Alignment, Status

if TYPE_CHECKING:
    # By pandas' own annotations every selection may be anything: they help nobody.
    from typing import Any as Frame
    from typing import Any as Labels
else:
    from pandas import DataFrame as Frame
    from pandas import Series as Labels

SIGNIFICANT = 0.05
Standing = Literal["best", "tied", "behind", "apart", "untested"]
Rule = Literal["common", "imputed"]


@dataclass(frozen=True)
class MetricTraits:
    """How a metric is read.

    Attributes:
        id: full id, with its network.
        title: as columns show it.
        higher_is_better: the direction.
        decimals: digits after the point in tables.
        worst: what a view that could not be scored counts as under the ``imputed`` rule: the value
            of a picture with nothing of the subject in it.
        unit: of the values, or empty.
    """

    id: str
    title: str
    higher_is_better: bool
    decimals: int
    worst: float
    unit: str = ""

    @property
    def arrow(self) -> str:
        """``↑`` where more is better, else ``↓``."""
        return "↑" if self.higher_is_better else "↓"

    def better(self, one: float, other: float) -> bool:
        """Return whether one value is better than another."""
        return one > other if self.higher_is_better else one < other


_FAMILIES: Mapping[str, tuple[str, float, str]] = {
    "psnr": ("PSNR", 0.0, "dB"),
    "ssim": ("SSIM", 0.0, ""),
    "lpips": ("LPIPS", 1.0, ""),
    "csim": ("CSIM", 0.0, ""),
    "dreamsim": ("DreamSim", 1.0, ""),
    "flip": ("FLIP", 1.0, ""),
}
"""Title, value of a failure and unit of metrics that differ by their network only."""


def family_of(metric: str) -> str:
    """Return a metric's id without its network: ``lpips`` of ``lpips[alex]``."""
    return metric.partition("[")[0]


def metric_traits(metric: str) -> MetricTraits:
    """Return how a metric is read.

    Raises:
        BenchError: it is none of the harness.
    """
    from a3d_bench.metrics import METRICS

    family = family_of(metric)
    if metric not in METRICS or family not in _FAMILIES:
        raise BenchError(
            f"metric {metric!r}: what better means is not known; expected one of "
            f"{', '.join(METRICS)}"
        )
    spec = METRICS[metric]
    title, worst, unit = _FAMILIES[family]
    network = metric.removeprefix(family).strip("[]")
    return MetricTraits(
        metric,
        f"{title} {network}" if network else title,
        spec.direction == "higher",
        spec.decimals,
        worst,
        unit,
    )


@dataclass(frozen=True)
class Entrant:
    """A method in a table.

    Attributes:
        id: of the method in the score table.
        title: as reports show it.
        sees_truth: a ceiling, never a competitor.
        paper_name: its row in the paper's tables, or None.
        output: what it leaves (`a3d_bench.methods.card.OutputKind`), or empty.
    """

    id: str
    title: str
    sees_truth: bool = False
    paper_name: str | None = None
    output: str = ""


@dataclass(frozen=True)
class Estimate:
    """One entrant in one column.

    Attributes:
        mean: of subject means, or None where nothing counts.
        interval: of the mean over subjects; None for fewer than 2 subjects.
        standard_error: of the mean over subjects.
        subjects: how many are averaged.
        views: how many are averaged.
        scored: views with a value, before any rule.
        expected: views that should have one.
        standing: in the column.
    """

    mean: float | None
    interval: Interval | None
    standard_error: float | None
    subjects: int
    views: int
    scored: int
    expected: int
    standing: Standing = "untested"

    @property
    def coverage(self) -> float:
        """Share of the views that were scored."""
        return self.scored / self.expected if self.expected else 0.0


@dataclass(frozen=True)
class Comparison:
    """The best of a column against another entrant, on the subjects that both have.

    Attributes:
        best: entrant with the best mean.
        other: the other one.
        difference: mean of best minus other over subjects.
        interval: of the difference.
        p: of the sign-flip test.
        p_holm: corrected for all tests of the table.
        minimum_detectable: the difference that would be seen four times in five.
        subjects: how many both have.
    """

    best: str
    other: str
    difference: float
    interval: Interval | None
    p: float
    p_holm: float
    minimum_detectable: float | None
    subjects: int

    @property
    def survives(self) -> bool:
        """Whether the two are told apart."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Column:
    """One metric after one alignment, over all angles or in a stratum.

    Attributes:
        metric: how it is read.
        alignment: what was done to predictions before.
        stratum: ``""`` for all, else the name of the stratum.
        estimates: by entrant's id.
        comparisons: of the best with the others; empty where a column is not tested.
        counted: views that count for everybody.
        expected: views that should have a value.
        limited_by: the entrant that takes most views out of the common ones, or None.
        absent: entrants that have no value here at all.
    """

    metric: MetricTraits
    alignment: Alignment
    stratum: str
    estimates: Mapping[str, Estimate]
    comparisons: tuple[Comparison, ...]
    counted: int
    expected: int
    limited_by: str | None
    absent: tuple[str, ...]

    @property
    def key(self) -> str:
        """Identifies it in a table."""
        return "/".join((self.metric.id, self.alignment, self.stratum))


@dataclass(frozen=True)
class Summary:
    """Columns that stand in one table.

    Attributes:
        rule: what views without a value count as.
        columns: in the protocol's order.
    """

    rule: Rule
    columns: tuple[Column, ...]

    @property
    def tests(self) -> int:
        """How many tests Holm's correction counts."""
        return sum(len(column.comparisons) for column in self.columns)

    @property
    def smallest_p(self) -> float:
        """The least p that any of the tests can give with the subjects there are."""
        return min(
            (smallest_p(test.subjects) for column in self.columns for test in column.comparisons),
            default=1.0,
        )

    def column(self, metric: str, alignment: Alignment, stratum: str = "") -> Column | None:
        """Return a column, or None where there is none."""
        wanted = (metric, alignment, stratum)
        for column in self.columns:
            if (column.metric.id, column.alignment, column.stratum) == wanted:
                return column
        return None


@dataclass(frozen=True)
class RankChange:
    """A metric by which the two rules rank entrants differently.

    Attributes:
        metric: how it is read.
        common: ids, best first, on the common views.
        imputed: ids, best first, with failures as worst.
    """

    metric: MetricTraits
    common: tuple[str, ...]
    imputed: tuple[str, ...]


@dataclass(frozen=True)
class Aggregate:
    """All numbers of a report.

    Attributes:
        entrants: in the order they were asked for.
        main: common views; tested at the main alignment, the other alignments beside it.
        imputed: failures as worst, the same columns.
        angles: front, side and back, main alignment.
        strata: the same for each thing that captures differ by (``accessory``, ...).
        rank_changes: where the two rules disagree.
        failures: views by entrant's id and status, without ``ok``; a status that only some metrics
            have (``no_face``) counts a view once.
    """

    entrants: tuple[Entrant, ...]
    main: Summary
    imputed: Summary
    angles: Summary
    strata: Mapping[str, Summary]
    rank_changes: tuple[RankChange, ...]
    failures: Mapping[str, Mapping[Status, int]]

    def entrant(self, method: str) -> Entrant:
        """Return an entrant by id."""
        return next(entrant for entrant in self.entrants if entrant.id == method)


def aggregate(
    scores: Frame,
    protocol: Protocol,
    entrants: Sequence[Entrant],
    capture_strata: Mapping[str, Mapping[str, str]] | None = None,
) -> Aggregate:
    """Return every number of a report.

    Args:
        scores: columns are the fields of `a3d_bench.types.Score`.
        protocol: names metrics, alignments, the treatment of the input view, seeds and the
            interval.
        entrants: the methods that are compared; rows of others are left out.
        capture_strata: by capture id, what reports may split by.

    Raises:
        BenchError: a value is said to be ok and is not a finite number, or stands twice.
    """
    rows = checked_scores(scores, protocol)
    rows = rows[rows["method"].isin([entrant.id for entrant in entrants])]
    table = _Builder(protocol, tuple(entrants))
    main_alignment = protocol.alignment.main
    others: list[Alignment] = [a for a in protocol.alignment.reported if a != main_alignment]
    alignments: list[Alignment] = [main_alignment, *others]
    main = table.summary(rows, "common", alignments)
    imputed = table.summary(rows, "imputed", alignments)
    angles = table.strata(rows, rows["stratum"], [str(name) for name in STRATA])
    by_capture = {}
    for name, labels in _splits(rows, capture_strata or {}).items():
        by_capture[name] = table.strata(rows, labels, sorted(labels.dropna().unique()))
    return Aggregate(
        tuple(entrants),
        main,
        imputed,
        angles,
        by_capture,
        tuple(_rank_changes(main, imputed, tuple(entrants), main_alignment)),
        _failures(rows, entrants),
    )


def checked_scores(scores: Frame, protocol: Protocol) -> Frame:
    """Return the rows that count: of the protocol's metrics and alignments, without input views.

    Raises:
        BenchError: a value is said to be ok and is not a finite number, or stands twice.
    """
    rows = scores[scores["alignment"].isin(protocol.alignment.reported)]
    rows = rows[rows["metric"].isin(protocol.metrics)]
    if not protocol.views.scores_input:
        rows = rows[~rows["is_input"].astype(bool)]
    values = rows["value"].astype(float)
    bad = rows[(rows["status"] == "ok") & ~np.isfinite(values)]
    if len(bad):
        row = bad.iloc[0]
        raise BenchError(
            f"scores: {row['metric']} of {row['method']}, {row['capture']}, view {row['view']} is "
            f"said to be ok and has the value {row['value']!r}, expected a finite number; score "
            "the run again"
        )
    key = ["method", "capture", "view", "alignment", "metric"]
    twice = rows[rows.duplicated(key)]
    if len(twice):
        row = twice.iloc[0]
        raise BenchError(
            f"scores: {row['metric']} of {row['method']}, {row['capture']}, view {row['view']} "
            "stands twice, expected one row each; were two runs of one method mixed?"
        )
    # A value that is not ok never counts, whatever stands beside it.
    return rows.assign(value=values.where(rows["status"] == "ok"))


def ranking(column: Column, entrants: Sequence[Entrant]) -> tuple[str, ...]:
    """Return the competitors that have a mean, best first."""
    means = {
        entrant.id: mean
        for entrant in entrants
        if not entrant.sees_truth and (mean := column.estimates[entrant.id].mean) is not None
    }
    return tuple(sorted(means, key=means.__getitem__, reverse=column.metric.higher_is_better))


@dataclass(frozen=True)
class _Builder:
    """Builds columns for one protocol and one list of entrants."""

    protocol: Protocol
    entrants: tuple[Entrant, ...]

    def summary(self, rows: Frame, rule: Rule, alignments: Sequence[Alignment]) -> Summary:
        """Return a tested table: every metric, at each alignment; the first one is tested."""
        columns = [
            self.column(rows, metric, alignment, "", rule, tested=alignment == alignments[0])
            for metric in self.protocol.metrics
            for alignment in alignments
        ]
        return Summary(rule, _with_standings(columns, self.entrants))

    def strata(self, rows: Frame, labels: Labels, names: Sequence[str]) -> Summary:
        """Return an untested table: every metric in each stratum, on common views."""
        columns = [
            self.column(
                rows[labels == name], metric, self.protocol.alignment.main, name, "common",
                tested=False,
            )
            for metric in self.protocol.metrics
            for name in names
        ]  # fmt: skip
        return Summary("common", tuple(columns))

    def column(
        self,
        rows: Frame,
        metric: str,
        alignment: Alignment,
        stratum: str,
        rule: Rule,
        *,
        tested: bool,
    ) -> Column:
        traits = metric_traits(metric)
        wanted = rows[(rows["metric"] == metric) & (rows["alignment"] == alignment)]
        # One row a view, one column an entrant; NaN where there is no value.
        grid = wanted.pivot(index=["subject", "capture", "view"], columns="method", values="value")
        grid = grid.reindex(columns=[entrant.id for entrant in self.entrants]).sort_index()
        has = grid.notna()
        competing = [e.id for e in self.entrants if not e.sees_truth and has[e.id].any()]
        if rule == "imputed":
            worst = _worst(traits, grid.to_numpy())
            counts, values = has.assign(**dict.fromkeys(has, True)), grid.fillna(worst)
        else:
            shared = has[competing].all(axis=1) if competing else has.any(axis=1)
            counts, values = has.mul(shared, axis=0), grid
        means = {
            entrant.id: _means(values[entrant.id], counts[entrant.id]) for entrant in self.entrants
        }
        estimates = {
            entrant.id: self._estimate(
                means[entrant.id],
                views=int(counts[entrant.id].sum()),
                scored=int(has[entrant.id].sum()),
                expected=len(grid),
            )
            for entrant in self.entrants
        }
        missing = {method: int((~has[method]).sum()) for method in competing}
        worst_covered = max(missing, key=missing.__getitem__, default=None)
        return Column(
            traits,
            alignment,
            stratum,
            estimates,
            self._comparisons(traits, means) if tested else (),
            counted=int(counts[competing].all(axis=1).sum()) if competing else 0,
            expected=len(grid),
            limited_by=worst_covered if worst_covered and missing[worst_covered] else None,
            absent=tuple(e.id for e in self.entrants if not has[e.id].any()),
        )

    def _interval(self, means: np.ndarray) -> Interval | None:
        rule = self.protocol.aggregation
        return clustered_interval(
            means,
            seed=self.protocol.seed,
            level=rule.interval_level,
            resamples=rule.bootstrap_resamples,
        )

    def _estimate(
        self, means: Mapping[str, float], *, views: int, scored: int, expected: int
    ) -> Estimate:
        if not means:
            return Estimate(None, None, None, 0, 0, scored, expected)
        values = np.array(list(means.values()))
        return Estimate(
            float(np.mean(values)),
            self._interval(values),
            standard_error(values),
            len(values),
            views,
            scored,
            expected,
        )

    def _comparisons(
        self, traits: MetricTraits, means: Mapping[str, Mapping[str, float]]
    ) -> tuple[Comparison, ...]:
        competing = [e.id for e in self.entrants if not e.sees_truth and means[e.id]]
        if len(competing) < 2:
            return ()
        choose: Callable[..., str] = max if traits.higher_is_better else min
        best = choose(competing, key=lambda method: float(np.mean(list(means[method].values()))))
        made = []
        for other in competing:
            if other == best:
                continue
            shared = [subject for subject in means[best] if subject in means[other]]
            gaps = np.array([means[best][s] - means[other][s] for s in shared])
            p = sign_flip_p(gaps, seed=self.protocol.seed)
            made.append(
                Comparison(
                    best,
                    other,
                    float(np.mean(gaps)) if shared else 0.0,
                    self._interval(gaps),
                    p,
                    p,
                    minimum_detectable(gaps),
                    len(shared),
                )
            )
        return tuple(made)


def _means(values: Labels, counts: Labels) -> dict[str, float]:
    kept = values[counts]
    return subject_means(kept.to_numpy(float), kept.index.get_level_values("subject").tolist())


def _worst(traits: MetricTraits, values: np.ndarray) -> float:
    """Return the value of a failure: the metric's worst, or what was seen where that is worse."""
    seen = values[np.isfinite(values)]
    if not len(seen):
        return traits.worst
    extreme = float(np.min(seen) if traits.higher_is_better else np.max(seen))
    return extreme if traits.better(traits.worst, extreme) else traits.worst


def _with_standings(columns: Sequence[Column], entrants: Sequence[Entrant]) -> tuple[Column, ...]:
    """Correct all tests of a table together, and say in each column who stands where."""
    adjusted = iter(holm([c.p for column in columns for c in column.comparisons]))
    corrected = [
        replace(
            column,
            comparisons=tuple(replace(c, p_holm=next(adjusted)) for c in column.comparisons),
        )
        for column in columns
    ]
    return tuple(_standing_column(column, entrants) for column in corrected)


def _standing_column(column: Column, entrants: Sequence[Entrant]) -> Column:
    standings: dict[str, Standing] = {e.id: "apart" for e in entrants if e.sees_truth}
    if column.comparisons:
        best = column.comparisons[0].best
        for comparison in column.comparisons:
            standings[comparison.other] = "behind" if comparison.survives else "tied"
        standings[best] = "tied" if "tied" in standings.values() else "best"
    return replace(
        column,
        estimates={
            method: replace(estimate, standing=standings.get(method, "untested"))
            for method, estimate in column.estimates.items()
        },
    )


def _rank_changes(
    common: Summary, imputed: Summary, entrants: Sequence[Entrant], alignment: Alignment
) -> list[RankChange]:
    changes = []
    for one, other in zip(common.columns, imputed.columns, strict=True):
        if one.alignment != alignment:
            continue
        before = ranking(one, entrants)
        # Entrants without any value rank in one of the two only.
        after = tuple(method for method in ranking(other, entrants) if method in before)
        if before != after:
            changes.append(RankChange(one.metric, before, after))
    return changes


def _failures(rows: Frame, entrants: Sequence[Entrant]) -> dict[str, dict[Status, int]]:
    failed = rows[rows["status"] != "ok"].drop_duplicates(["method", "capture", "view", "status"])
    counts = failed.groupby(["method", "status"]).size().to_dict()
    return {
        entrant.id: {
            status: int(counts[entrant.id, status])
            for status in STATUSES
            if (entrant.id, status) in counts
        }
        for entrant in entrants
    }


def _splits(rows: Frame, capture_strata: Mapping[str, Mapping[str, str]]) -> dict[str, Labels]:
    """Return a label a row for each thing that captures differ by."""
    names = sorted({name for strata in capture_strata.values() for name in strata})
    splits = {}
    for name in names:
        by_capture = {
            capture: strata[name] for capture, strata in capture_strata.items() if name in strata
        }
        if len(set(by_capture.values())) > 1:
            splits[name] = rows["capture"].map(by_capture)
    return splits
