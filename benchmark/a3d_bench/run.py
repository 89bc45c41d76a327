"""A run, from captures to an honest report.

Each stage reads files and writes files, and skips what is there: the same command goes on after
Ctrl-C or a crash. predict -> validate -> align -> evaluate -> report.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from a3d_bench import provenance
from a3d_bench.captures import CaptureSet, open_captures
from a3d_bench.errors import BenchError, NotComparable
from a3d_bench.evaluate import check_asked, evaluate, network_digests
from a3d_bench.methods import Limits, RegisteredMethod, open_method
from a3d_bench.names import slug
from a3d_bench.pictures import protocol_cameras, write_truth
from a3d_bench.predict import predict
from a3d_bench.protocol import Protocol
from a3d_bench.store import CaptureRow, RunFolder, ViewRow
from a3d_bench.types import Alignment, Capture, Prediction, Score, stratum_of
from any3davatar.core.rigs import angles_of
from any3davatar.io import write_cameras

logger = logging.getLogger(__name__)


class Progress:
    """What a run tells while it works; this one tells nothing."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[str], None]]:
        """Begin a stage of `total` items; yield what is called after each, with a remark."""
        yield lambda _remark: None

    def say(self, line: str) -> None:
        """Tell a line."""


@dataclass(frozen=True)
class Order:
    """What to run.

    Attributes:
        out: folder of the run, made or gone on with.
        protocol: the rules.
        data: folder of captures, or None for the protocol's own.
        frame: world of camera files, where the data can't tell.
        methods: what is scored, by id.
        limits: of time and memory, a subject.
        limits_of: for single methods, by id, in their place.
        limit: so many captures at most.
        metrics: which of the protocol's to compute this time, empty for all; its digest stays, and
            the columns of the others are left out until the run is gone on with.
        workers: processes for building data, aligning and scoring; methods run one at a time, or
            their times would mean nothing.
        retry_failures: do failed predictions again.
    """

    out: Path
    protocol: Protocol
    data: Path | None
    frame: str | None
    methods: Mapping[str, RegisteredMethod]
    limits: Limits
    limit: int | None = None
    metrics: tuple[str, ...] = ()
    workers: int = 1
    retry_failures: bool = False
    limits_of: Mapping[str, Limits] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: its folder.
        failed: predictions whose status is not ok, of how many.
        predictions: how many there are.
        statuses: how many scores have each status.
        too_many_failures: more than the protocol bears.
    """

    run: RunFolder
    failed: int
    predictions: int
    statuses: Mapping[str, int] = field(default_factory=dict)
    too_many_failures: bool = False


def run(order: Order, progress: Progress | None = None) -> Outcome:
    """Do everything up to the scores.

    Raises:
        BenchError: data, a method or a setting can't be used.
        NotComparable: the folder holds a run under another protocol or of other data.
    """
    told = progress or Progress()
    protocol = order.protocol
    check_asked(protocol, order.metrics or protocol.metrics)
    with told.stage("heads", len(protocol.data.subjects or ())) as done:
        captures = open_captures(
            protocol,
            order.data,
            limit=order.limit,
            frame=order.frame,
            workers=order.workers,
            on_head=done,
        )
    _announce(order, captures, told)
    folder = RunFolder(order.out)
    _begin(folder, order, captures)
    usable = _prepare(folder, captures, protocol, told)
    rows = {row.id: row for row in folder.captures()}
    predictions = _predict(folder, order, usable, told)
    _validate(folder, predictions, rows, told)
    _align(folder, protocol, predictions, rows, order.workers, told)
    scores = _evaluate(folder, order, told)
    folder.write_timing(_timing_rows(folder, order.methods, usable))
    folder.write_failures(_failure_rows(scores, captures))
    _finish(folder)
    failed = sum(prediction.status != "ok" for prediction in predictions)
    share = failed / max(len(predictions), 1)
    return Outcome(
        folder,
        failed,
        len(predictions),
        Counter(score.status for score in scores),
        share > protocol.failure.failed_share_max,
    )


def _asked(order: Order) -> tuple[str, ...]:
    """Return the metrics to compute, in the protocol's order."""
    every = order.protocol.metrics
    return tuple(metric for metric in every if metric in order.metrics) or every


def _announce(order: Order, captures: CaptureSet, told: Progress) -> None:
    views = sum(len(capture) for capture in captures.captures)
    told.say(f"protocol {order.protocol.id}: {order.protocol.title}")
    told.say(f"data: {captures.recognised}")
    if captures.partial:
        told.say(f"PARTIAL: {captures.partial}")
    for problem in captures.problems:
        told.say(f"left out: {problem.subject}: {problem.reason}")
    told.say(
        f"plan: {len(order.methods)} methods x {views} views of {len(captures.captures)} captures "
        f"x {len(_asked(order))} metrics x {len(order.protocol.alignment.reported)} "
        "alignments"
    )


def _begin(folder: RunFolder, order: Order, captures: CaptureSet) -> None:
    """Write what the run is before any work, or check that the folder holds this very run."""
    methods = {
        id_: {
            "card": method.card.model_dump(mode="json"),
            "card_digest": method.card.digest,
            "origin": method.origin,
        }
        for id_, method in order.methods.items()
    }
    before: dict[str, Any] = {}
    if (folder.path / "run.json").exists():
        before = RunFolder.open(folder.path).read_run()
        _check_same(folder, before, order, captures)
    elif folder.path.exists() and any(folder.path.iterdir()):
        raise BenchError(
            f"{folder.path} is not empty and holds no run; choose another folder with --out"
        )
    folder.write_protocol(order.protocol)
    folder.write_run(
        {
            "protocol": {
                "id": order.protocol.id,
                "digest": order.protocol.digest,
                "title": order.protocol.title,
            },
            "data": {
                "name": captures.name,
                "kind": captures.kind,
                "recognised": captures.recognised,
                "digest": captures.digest,
                "partial": captures.partial,
                "problems": [asdict(problem) for problem in captures.problems],
                "notes": captures.notes,
            },
            # A run may be gone on with by other methods: their predictions stay.
            "methods": {**before.get("methods", {}), **methods},
            "metrics": list(_asked(order)),
            "networks": network_digests(_asked(order)),
            "seed": order.protocol.seed,
            "command": provenance.command_line(),
            "machine": provenance.machine(),
            "software": provenance.software(),
            "started": before.get("started") or provenance.now(),
            "finished": None,
        }
    )


def _check_same(
    folder: RunFolder, before: Mapping[str, Any], order: Order, captures: CaptureSet
) -> None:
    for what, old, new in (
        ("the protocol", before["protocol"]["digest"], order.protocol.digest),
        ("the data", before["data"]["digest"], captures.digest),
    ):
        if old != new:
            raise NotComparable(
                f"{folder.path} holds a run of other settings: {what} had the digest {old[:12]}, "
                f"now it has {new[:12]}. Choose another folder with --out"
            )


def _prepare(
    folder: RunFolder, captures: CaptureSet, protocol: Protocol, told: Progress
) -> list[Capture]:
    """Write cameras and true pictures; a capture whose truth can't be read is left out, named."""
    rows: list[CaptureRow] = []
    usable: list[Capture] = []
    total = sum(len(capture) for capture in captures.captures)
    with told.stage("truth", total) as done:
        for capture in captures.captures:
            name = slug(capture.id)
            cameras = protocol_cameras(capture, protocol.picture)
            try:
                for view in range(len(capture)):
                    path = folder.truth_path(name, view)
                    if not path.is_file():
                        write_truth(capture, view, protocol.picture, path)
                    done(capture.id)
            except BenchError as error:
                told.say(f"left out: {capture.id}: {error}")
                continue
            path = folder.cameras_path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_cameras(path, cameras, capture.view_names)
            rows.append(_row(capture, name))
            usable.append(capture)
    if not usable:
        raise BenchError("no capture is left whose true pictures can be read; see the lines above")
    folder.write_captures(rows)
    return usable


def _row(capture: Capture, name: str) -> CaptureRow:
    azimuths, elevations = angles_of(capture.cameras.centers)
    views = tuple(
        ViewRow(
            view_name,
            round(float(azimuth), 4),
            round(float(elevation), 4),
            stratum_of(float(azimuth)),
            source.sha256,
        )
        for view_name, azimuth, elevation, source in zip(
            capture.view_names, azimuths, elevations, capture.views, strict=True
        )
    )
    return CaptureRow(
        capture.id,
        name,
        capture.subject,
        capture.dataset,
        capture.input_view,
        dict(capture.strata),
        dict(capture.notes),
        views,
    )


def _predict(
    folder: RunFolder, order: Order, captures: Sequence[Capture], told: Progress
) -> list[Prediction]:
    predictions = []
    for id_, method in order.methods.items():
        limits = order.limits_of.get(id_, order.limits)
        with told.stage(id_, len(captures)) as done, open_method(method, limits) as running:
            for capture in captures:
                prediction = predict(
                    folder, running, capture, order.protocol, retry_failures=order.retry_failures
                )
                predictions.append(prediction)
                if prediction.status == "ok":
                    done(capture.id)
                else:
                    done(f"{capture.id}: {prediction.status}")
                    told.say(f"{id_}, {capture.id}: {prediction.status}: {prediction.reason}")
    return predictions


def _validate(
    folder: RunFolder,
    predictions: Sequence[Prediction],
    rows: Mapping[str, CaptureRow],
    told: Progress,
) -> None:
    from a3d_bench.validate import validate

    todo = [prediction for prediction in predictions if prediction.status == "ok"]
    with told.stage("validate", len(todo)) as done:
        for prediction in todo:
            findings = validate(folder, prediction.method, rows[prediction.capture])
            done(prediction.capture)
            for kind, count in Counter(finding.kind for finding in findings).items():
                told.say(f"{prediction.method}, {prediction.capture}: {count} x {kind}")


def _align(
    folder: RunFolder,
    protocol: Protocol,
    predictions: Sequence[Prediction],
    rows: Mapping[str, CaptureRow],
    workers: int,
    told: Progress,
) -> None:
    from a3d_bench.align import align

    kinds: list[Alignment] = [kind for kind in protocol.alignment.reported if kind != "none"]
    todo: list[tuple[Prediction, Alignment]] = [
        (p, kind) for p in predictions if p.status == "ok" for kind in kinds
    ]
    with told.stage("align", len(todo)) as done:
        for prediction, kind in todo:
            align(folder, prediction.method, rows[prediction.capture], kind, protocol)
            done(f"{prediction.method} {prediction.capture}")


def _evaluate(folder: RunFolder, order: Order, told: Progress) -> list[Score]:
    methods = folder.methods()
    rows = folder.captures()
    with told.stage("score", len(rows)) as done:
        scores = evaluate(
            folder,
            methods=[m for m in methods if _has_predictions(folder, m, rows)],
            alignments=order.protocol.alignment.reported,
            metrics=_asked(order),
            workers=order.workers,
            progress=done,
        )
    folder.write_scores(scores)
    return scores


def _has_predictions(folder: RunFolder, method: str, rows: Sequence[CaptureRow]) -> bool:
    return any(folder.prediction(method, row.slug) is not None for row in rows)


def _timing_rows(
    folder: RunFolder, methods: Mapping[str, RegisteredMethod], captures: Sequence[Capture]
) -> list[dict[str, Any]]:
    rows = []
    for method in folder.methods():
        for capture in captures:
            prediction = folder.prediction(method, slug(capture.id))
            if prediction is not None:
                rows.append(
                    {
                        "method": method,
                        "capture": capture.id,
                        "status": prediction.status,
                        **asdict(prediction.seconds),
                        "timed_by": prediction.timed_by,
                        "peak_rss_bytes": prediction.peak_rss_bytes,
                        "peak_gpu_bytes": prediction.peak_gpu_bytes,
                        "device": prediction.device,
                    }
                )
    return rows


def _failure_rows(scores: Sequence[Score], captures: CaptureSet) -> list[dict[str, Any]]:
    """Return what is not scored: a line a view, whatever the number of its metrics."""
    lines: dict[tuple[str, str, int, str, str], dict[str, Any]] = {}
    for score in scores:
        if score.status == "ok":
            continue
        key = (score.method, score.capture, score.view, score.status, score.alignment)
        line = lines.setdefault(
            key,
            {
                "method": score.method,
                "capture": score.capture,
                "view": score.view,
                "view_name": score.view_name,
                "azimuth_deg": score.azimuth_deg,
                "alignment": score.alignment,
                "status": score.status,
                "reason": score.reason,
                "metrics": [],
            },
        )
        line["metrics"].append(score.metric)
    unread = [
        {
            "method": None,
            "capture": problem.subject,
            "status": "unreadable",
            "reason": problem.reason,
        }
        for problem in captures.problems
    ]
    return [*lines.values(), *unread]


def _finish(folder: RunFolder) -> None:
    record = folder.read_run()
    record.pop("schema")
    folder.write_run({**record, "finished": provenance.now()})
