"""What reports read from run folders, and when two runs may stand in one table."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from a3d_bench.aggregate import Aggregate, Entrant, Frame, aggregate
from a3d_bench.errors import NotComparable
from a3d_bench.paper_comparison import Measured
from a3d_bench.protocol import Protocol
from a3d_bench.store import CaptureRow, RunFolder
from a3d_bench.timing import timings
from a3d_bench.types import Alignment, Prediction


@dataclass(frozen=True)
class MethodOfRun:
    """Where an entrant's files are.

    Attributes:
        run: its run.
        method: its id in that run; two runs may use one id, entrants' ids differ.
    """

    run: RunFolder
    method: str


@dataclass(frozen=True, eq=False)
class Results:
    """One run, or several that may be compared, as reports see them.

    Attributes:
        runs: whose folders are read, in order.
        protocol: that all were made under.
        captures: what is scored.
        entrants: in order.
        files: by entrant's id, where its files are.
        scores: score table with entrants' ids as methods.
        predictions: by entrant's id and capture id.
        provenances: one a run.
        unavailable: by metric id, why it has no values and what mends it.
    """

    runs: tuple[RunFolder, ...]
    protocol: Protocol
    captures: tuple[CaptureRow, ...]
    entrants: tuple[Entrant, ...]
    files: Mapping[str, MethodOfRun]
    scores: Frame
    predictions: Mapping[tuple[str, str], Prediction]
    provenances: tuple[Mapping[str, Any], ...]
    unavailable: Mapping[str, str]

    @property
    def data_label(self) -> str:
        """Name of the data, number of heads, and what is missing from a full set."""
        names = sorted({capture.dataset for capture in self.captures})
        label = f"{', '.join(names)}, {_heads(self.captures)}"
        partial = self.partial
        return f"{label}, partial: {partial}" if partial else label

    @property
    def label(self) -> str:
        """Protocol and data in one line."""
        return f"{self.protocol.id} ({self.data_label})"

    @property
    def partial(self) -> str | None:
        """Why the data is not the protocol's whole set, or None."""
        said = self.provenances[0].get("data", {}).get("partial")
        if said:
            return str(said)
        expected = self.protocol.data.expected_subjects
        found = len({capture.subject for capture in self.captures})
        if expected is not None and found < expected:
            return f"{found} of {expected} heads"
        return None

    @property
    def asked(self) -> tuple[str, ...]:
        """The protocol's metrics that were asked for; `unavailable` names the others."""
        return _asked(self.protocol, self.provenances)

    def numbers(self) -> Aggregate:
        """Return all numbers of a report; metrics that nobody asked for have no columns."""
        return aggregate(
            self.scores,
            self.protocol.model_copy(update={"metrics": self.asked}),
            self.entrants,
            {capture.id: capture.strata for capture in self.captures},
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why numbers from here are not made under the paper's conditions."""
        remarks = []
        if self.protocol.name != self.protocol.data.kind:
            remarks.append(
                f"the protocol is {self.protocol.id}, the paper's is {self.protocol.data.kind}"
            )
        names = sorted({capture.dataset for capture in self.captures})
        if [name.lower() for name in names] != [self.protocol.data.kind]:
            remarks.append(f"the data is {', '.join(names)}")
        if self.partial:
            remarks.append(f"the data is partial, {self.partial}")
        return tuple(remarks)

    def shown_view(self, entrant: str, capture: CaptureRow, view: int) -> tuple[Path, Alignment]:
        """Return the file that stands for an entrant's view, and what was done to it.

        After the main alignment where there is one, else as it was predicted; it need not exist.
        """
        files, alignment = self.files[entrant], self.protocol.alignment.main
        path = files.run.view_path(files.method, capture.slug, view, alignment)
        if path.is_file():
            return path, alignment
        return files.run.view_path(files.method, capture.slug, view), "none"

    def measured(self) -> Measured:
        """Return what the paper's tables take from here."""
        return Measured(
            self.label,
            self.protocol.data.kind,
            self.remarks,
            self.numbers(),
            timings(self.predictions.values()),
        )


def read_results(run: RunFolder) -> Results:
    """Read one run.

    Raises:
        BenchError: a file of it is missing or damaged.
    """
    provenance = run.read_run()
    protocol = run.protocol()
    captures = tuple(run.captures())
    methods = run.methods()
    entrants = _in_order(_entrant(method, provenance) for method in methods)
    predictions = {
        (method, capture.id): prediction
        for method in methods
        for capture in captures
        if (prediction := run.prediction(method, capture.slug)) is not None
    }
    scores = run.scores()
    return Results(
        (run,),
        protocol,
        captures,
        entrants,
        {method: MethodOfRun(run, method) for method in methods},
        scores,
        predictions,
        (provenance,),
        _unavailable(scores, protocol, [provenance]),
    )


def merged(results: Sequence[Results]) -> Results:
    """Return several runs as one; entrants of one name get their run's name.

    Raises:
        NotComparable: their protocols, data or metric networks differ.
    """
    check_comparable(results)
    if len(results) == 1:
        return results[0]
    counts: dict[str, int] = {}
    for each in results:
        for entrant in each.entrants:
            counts[entrant.id] = counts.get(entrant.id, 0) + 1
    renamed = [_renamed(each, counts) for each in results]
    scores = pd.concat([each.scores for each in renamed], ignore_index=True)
    ids = [entrant.id for each in renamed for entrant in each.entrants]
    if len(set(ids)) < len(ids):
        raise NotComparable(
            "two runs in folders of one name hold the same method: expected different names; "
            "rename a folder, or give each run once"
        )
    return Results(
        tuple(run for each in renamed for run in each.runs),
        results[0].protocol,
        results[0].captures,
        _in_order(entrant for each in renamed for entrant in each.entrants),
        {key: files for each in renamed for key, files in each.files.items()},
        scores,
        {key: made for each in renamed for key, made in each.predictions.items()},
        tuple(provenance for each in renamed for provenance in each.provenances),
        _unavailable(
            scores, results[0].protocol, [one for each in renamed for one in each.provenances]
        ),
    )


def check_comparable(results: Sequence[Results]) -> None:
    """Pass if runs may stand in one table.

    Raises:
        NotComparable: naming the first thing that differs.
    """
    first = results[0]
    for other in results[1:]:
        reason = difference(first, other)
        if reason is not None:
            raise NotComparable(
                f"{_name(first)} and {_name(other)} don't belong in one table: {reason}; run both "
                "under one protocol, on the same data, with the same metric networks"
            )


def difference(one: Results, other: Results) -> str | None:
    """Return why two runs may not stand in one table, or None."""
    if one.protocol.digest != other.protocol.digest:
        return f"protocol {one.protocol.id} against {other.protocol.id}"
    if data_digest(one.captures) != data_digest(other.captures):
        return f"data {_data_difference(one.captures, other.captures)}"
    networks, others = (network_digests(each.provenances[0]) for each in (one, other))
    for metric in sorted(networks.keys() & others.keys()):
        if networks[metric] != others[metric]:
            return f"network of {metric}, {networks[metric]} against {others[metric]}"
    return None


def data_digest(captures: Sequence[CaptureRow]) -> str:
    """Return the SHA-256 of what is scored: captures, input views, and digests of the truth."""
    said = [
        [capture.id, capture.input_view, [view.truth_sha256 for view in capture.views]]
        for capture in sorted(captures, key=lambda capture: capture.id)
    ]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def network_digests(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return, by metric id, what it was computed with: digest of its network, and parameters.

    The version of torch, which is part of a metric's full digest, may differ between runs.
    """
    networks = provenance.get("networks", {})
    if not isinstance(networks, Mapping):
        return {}
    return {str(metric): _network_text(said) for metric, said in networks.items()}


def _network_text(said: Any) -> str:
    if not isinstance(said, Mapping):
        return str(said)
    return f"{str(said.get('network') or 'no network')[:16]} ({said.get('source', '')})"


def _data_difference(one: Sequence[CaptureRow], other: Sequence[CaptureRow]) -> str:
    ids, others = ({capture.id for capture in captures} for captures in (one, other))
    odd = sorted(ids ^ others)
    if odd:
        return f"{len(ids)} captures against {len(others)}, such as {odd[0]} in only one of them"
    by_id = {capture.id: capture for capture in other}
    changed = next(capture.id for capture in one if data_digest([capture]) != data_digest(
        [by_id[capture.id]]))  # fmt: skip
    return f"{changed} has other pictures or another input view"


def _entrant(method: str, provenance: Mapping[str, Any]) -> Entrant:
    """Return an entrant from what ``run.json`` says of a method: its card, or nothing."""
    said = provenance["methods"][method]
    card = said.get("card", said) if isinstance(said, Mapping) else {}
    paper_name = card.get("paper_name")
    return Entrant(
        method,
        str(card.get("title") or method),
        card.get("sees_truth") is True,
        str(paper_name) if paper_name else None,
        str(card.get("output") or ""),
    )


def _in_order(entrants: Iterable[Entrant]) -> tuple[Entrant, ...]:
    """Return competitors first, as they were asked for, and ceilings last."""
    return tuple(sorted(entrants, key=lambda entrant: entrant.sees_truth))


def _asked(protocol: Protocol, provenances: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    asked = {metric for one in provenances for metric in one.get("metrics", protocol.metrics)}
    return tuple(metric for metric in protocol.metrics if metric in asked)


def _unavailable(
    scores: Frame, protocol: Protocol, provenances: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Return the metrics that have not a single row, and what mends each."""
    from a3d_bench.metrics import METRICS

    scored = set(scores.loc[scores["value"].notna(), "metric"])
    asked = _asked(protocol, provenances)
    reasons = {}
    for metric in protocol.metrics:
        if metric not in asked:
            reasons[metric] = "left out by --metric; the same command without it adds the column"
        elif metric not in scored:
            spec = METRICS.get(metric)
            mend = spec.available() if spec is not None else None
            reasons[metric] = mend or "no view has a value; run again with the same arguments"
    return reasons


def _renamed(results: Results, counts: Mapping[str, int]) -> Results:
    """Return results whose shared ids and titles carry the name of their run."""
    run = results.runs[0].path.name
    ids = {
        entrant.id: f"{entrant.id} ({run})" if counts[entrant.id] > 1 else entrant.id
        for entrant in results.entrants
    }
    return replace(
        results,
        entrants=tuple(
            replace(
                entrant,
                id=ids[entrant.id],
                title=f"{entrant.title} ({run})" if counts[entrant.id] > 1 else entrant.title,
            )
            for entrant in results.entrants
        ),
        files={ids[method]: files for method, files in results.files.items()},
        scores=results.scores.assign(
            method=results.scores["method"].map(lambda method: ids.get(method, method))
        ),
        predictions={
            (ids[method], capture): replace(made, method=ids[method])
            for (method, capture), made in results.predictions.items()
        },
    )


def _name(results: Results) -> str:
    return str(results.runs[0].path)


def _heads(captures: Sequence[CaptureRow]) -> str:
    count = len({capture.subject for capture in captures})
    return "1 head" if count == 1 else f"{count} heads"
