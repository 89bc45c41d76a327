"""From the pictures of a run to rows of scores.

Reads PNG files only. What a value depends on is in its key (`value_cache`), so a stage that was cut
off goes on where it was, and what is known from any earlier run is not computed again. The true
picture of a view is described once for all methods and alignments.
"""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from a3d_bench.align.record import read_alignment
from a3d_bench.errors import BenchError
from a3d_bench.metrics import MetricSpec, metric_specs
from a3d_bench.scoring import (
    PictureJob,
    Scorer,
    Unusable,
    ViewJob,
    ViewResult,
    begin_worker,
    read_prediction,
    read_truth,
    score_in_worker,
)
from a3d_bench.types import Alignment, Prediction, Score, Status
from a3d_bench.value_cache import ValueCache, value_key
from any3davatar.registry_files import sha256_of

if TYPE_CHECKING:
    from a3d_bench.protocol import Protocol
    from a3d_bench.store import CaptureRow, RunFolder

_IN_FLIGHT = 3  # jobs handed out per worker: enough that none waits, few enough to end soon


def evaluate(
    run: "RunFolder",
    *,
    methods: Sequence[str],
    alignments: Sequence[Alignment],
    metrics: Sequence[str] | None = None,
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
    views: Iterable[tuple[str, int]] | None = None,
    cache: ValueCache | None = None,
    use_cache: bool = True,
) -> list[Score]:
    """Return a score for every method, view, alignment and metric that is available.

    Rows are sorted by method, capture, view, alignment and metric; they are the same for any number
    of workers, and for a run that was cut off and gone on with.

    Args:
        run: with captures, true pictures, predictions, and what alignments need.
        methods: by id.
        alignments: which ones.
        metrics: some of the protocol's; None for all.
        workers: processes; each computes in one thread.
        progress: called with a capture's id when all of its views are done.
        views: (slug of the capture, index of the view) of the views to score, None for all.
        cache: of values; None for the user's.
        use_cache: whether known values are taken; without, everything is computed, and compared
            with nothing and kept nowhere.

    Raises:
        BenchError: the protocol asks for an unknown metric or for one that can't be computed at its
            size, a true picture is damaged, a network is not the one it should be, or a worker
            was killed.
    """
    if workers < 1:
        raise BenchError(f"got {workers} workers, expected at least 1")
    protocol = run.protocol()
    asked = protocol.metrics if metrics is None else metrics
    check_asked(protocol, asked)
    specs = tuple(spec for spec in metric_specs(asked) if spec.available() is None)
    chosen = None if views is None else set(views)
    with ExitStack() as stack:
        if use_cache and cache is None:
            cache = stack.enter_context(ValueCache(ValueCache.default_path()))
        plan = _Plan(run, protocol, specs, tuple(methods), tuple(alignments), cache, use_cache)
        compute = stack.enter_context(_computing(workers))
        scores = _all_scores(plan, chosen, compute, progress)
    return sorted(scores, key=lambda s: (s.method, s.capture, s.view, s.alignment, s.metric))


def network_digests(ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return, for a run's record, what the metrics that are available here are computed with.

    Two runs whose digests of a metric differ must not stand in one column. For metrics that are
    missing in what this returns, `a3d_bench.metrics.unavailable_metrics` says what mends them.

    Returns:
        id to ``digest`` (of id, our code's revision and network), ``network`` (SHA-256 over its
        files, empty for none) and ``source`` (implementation and parameters).
    """
    return {
        spec.id: {"digest": spec.digest, "network": spec.network_digest, "source": spec.source}
        for spec in metric_specs(ids)
        if spec.available() is None
    }


def check_asked(protocol: "Protocol", metrics: Sequence[str]) -> None:
    """Pass if these metrics can be computed under a protocol.

    Raises:
        BenchError: unknown, not of the protocol, or not defined at its size.
    """
    size_px = protocol.picture.size_px
    for spec in metric_specs(metrics):
        if spec.id not in protocol.metrics:
            raise BenchError(
                f"{protocol.id} does not score {spec.id}; expected some of "
                f"{', '.join(protocol.metrics)}. --set metrics=[...] makes another protocol"
            )
        if size_px < spec.size_min_px:
            raise BenchError(
                f"{spec.id} needs pictures of at least {spec.size_min_px} pixels; {protocol.id} "
                f"has {size_px}: leave it out with --metric or --set metrics=[...]"
            )


@dataclass(frozen=True)
class _Slot:
    """A place in the table: where a predicted picture is, or why there is none.

    Attributes:
        method: id.
        alignment: what was done to the picture.
        prediction: what the method left, or None where it was not asked.
        path: of the picture.
        sha256: of the picture, empty where it is not there.
        failure: why it can't be scored, None where nothing is known against it.
    """

    method: str
    alignment: Alignment
    prediction: Prediction | None
    path: Path
    sha256: str
    failure: Unusable | None


@dataclass(frozen=True)
class _View:
    """One true picture, all that is compared with it, and what is known already."""

    capture: "CaptureRow"
    index: int
    slots: tuple[_Slot, ...]
    keys: dict[tuple[str, str], str]
    known: dict[str, float | None]
    job: ViewJob


class _Plan:
    """Finds out what there is to do; decodes no picture but to say why it can't be aligned."""

    def __init__(
        self,
        run: "RunFolder",
        protocol: "Protocol",
        specs: tuple[MetricSpec, ...],
        methods: tuple[str, ...],
        alignments: tuple[Alignment, ...],
        cache: ValueCache | None,
        use_cache: bool,
    ) -> None:
        self.run = run
        self.protocol = protocol
        self.specs = specs
        self.methods = methods
        self.alignments = alignments
        self.cache = cache if use_cache else None
        # Another torch may sum in another order: what it computed has other last digits.
        self._digests = {spec.id: f"{spec.digest} {torch.__version__}" for spec in specs}

    def views(self, chosen: set[tuple[str, int]] | None) -> Iterator[_View]:
        """Yield what is scored, capture by capture."""
        for capture in self.run.captures():
            predictions = {m: self.run.prediction(m, capture.slug) for m in self.methods}
            for index in range(len(capture.views)):
                if chosen is None or (capture.slug, index) in chosen:
                    yield self._view(capture, index, predictions)

    def asked_of(self, capture: "CaptureRow", index: int) -> tuple[MetricSpec, ...]:
        """Return the metrics that count at a view."""
        away = abs((capture.views[index].azimuth_deg + 180) % 360 - 180)
        shows_face = away <= self.protocol.face_max_azimuth_deg
        return tuple(spec for spec in self.specs if shows_face or not spec.needs_face)

    def _view(
        self, capture: "CaptureRow", index: int, predictions: dict[str, Prediction | None]
    ) -> _View:
        slots = tuple(
            self._slot(capture, index, method, alignment, prediction)
            for method, prediction in predictions.items()
            for alignment in self.alignments
        )
        truth = self.run.truth_path(capture.slug, index)
        paths = {slot.sha256: slot.path for slot in slots if slot.failure is None}
        background = self.protocol.picture.background
        asked = self.asked_of(capture, index)
        truth_sha256 = _truth_sha256(truth) if paths else ""
        keys = {
            (sha256, spec.id): value_key(self._digests[spec.id], truth_sha256, background, sha256)
            for sha256 in paths
            for spec in asked
        }
        known = {} if self.cache is None else self.cache.found(keys.values())
        pictures = []
        for sha256, path in paths.items():
            unknown = tuple(s.id for s in asked if keys[sha256, s.id] not in known)
            if unknown:
                pictures.append(PictureJob(sha256, path, unknown))
        job = ViewJob(truth, background, tuple(pictures))
        return _View(capture, index, slots, keys, known, job)

    def _slot(
        self,
        capture: "CaptureRow",
        index: int,
        method: str,
        alignment: Alignment,
        prediction: Prediction | None,
    ) -> _Slot:
        path = self.run.view_path(method, capture.slug, index, alignment)
        sha256, failure = "", None
        if prediction is None:
            failure = Unusable("missing", "the method was not asked for this capture yet")
        elif prediction.status != "ok":
            failure = Unusable(prediction.status, prediction.reason)
        elif alignment == "none":
            promised = prediction.files.get(f"views/{path.name}")
            sha256, failure = _promised(path, promised, "prediction")
        else:
            sha256, failure = self._aligned(capture, index, method, alignment, path)
        return _Slot(method, alignment, prediction, path, sha256, failure)

    def _aligned(
        self, capture: "CaptureRow", index: int, method: str, alignment: Alignment, path: Path
    ) -> tuple[str, Unusable | None]:
        record = read_alignment(self.run, method, capture.slug, alignment)
        if record is None:
            return "", Unusable("missing", f"{alignment} was not done yet; run again")
        if record.status != "ok":
            return "", Unusable("no_face", f"{alignment}: {record.reason}")
        view = next((view for view in record.views if view.view == index), None)
        if view is not None and view.how != "absent":
            return _promised(path, view.sha256, "alignment")
        raw = self.run.view_path(method, capture.slug, index)
        if raw.is_symlink() or not raw.is_file():
            return "", Unusable("missing", f"there is no picture {raw.name}")
        truth = read_truth(
            self.run.truth_path(capture.slug, index), self.protocol.picture.background
        )
        read = read_prediction(raw, truth)
        if isinstance(read, Unusable):
            return "", read
        return "", Unusable("missing", f"{alignment} gave no picture {path.name}; run again")


def _promised(path: Path, promised: str | None, record: str) -> tuple[str, Unusable | None]:
    """Return a picture's SHA-256, and why it is not the one that its record lists."""
    if path.is_symlink() or not path.is_file():
        return "", Unusable("missing", f"there is no picture {path.name}")
    sha256 = sha256_of(path)
    if sha256 == promised:
        return sha256, None
    words = "is not listed in" if promised is None else "has other bytes than"
    reason = f"{path.name} {words} {record}.json; delete the {record} and run again"
    return sha256, Unusable("unreadable", reason)


def _truth_sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise BenchError(
            f"the true picture {path} can't be read: {error}. Run `a3d-bench run` with the same "
            "arguments: it is made again"
        ) from error


Compute = Callable[[Iterator[_View]], Iterator[tuple[_View, ViewResult]]]


@contextmanager
def _computing(workers: int) -> Iterator[Compute]:
    """Yield what turns planned views into results, in this process or in others."""
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums in another number of threads have other last bits
        try:
            yield _in_this_process
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker)
    try:
        yield lambda views: _in_pool(pool, views, _IN_FLIGHT * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_this_process(views: Iterator[_View]) -> Iterator[tuple[_View, ViewResult]]:
    scorer = Scorer()
    for view in views:
        yield view, scorer.score(view.job) if view.job.pictures else ViewResult()


def _in_pool(
    pool: ProcessPoolExecutor, views: Iterator[_View], most: int
) -> Iterator[tuple[_View, ViewResult]]:
    running: dict[Future[ViewResult], _View] = {}
    try:
        for view in views:
            if not view.job.pictures:
                yield view, ViewResult()
                continue
            running[pool.submit(score_in_worker, view.job)] = view
            if len(running) >= most:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    except BrokenProcessPool as error:
        raise BenchError(
            "a scoring process was killed, most likely for want of memory: run the same command "
            "with fewer --workers; what was scored is kept"
        ) from error


def _finished(running: dict[Future[ViewResult], _View]) -> Iterator[tuple[_View, ViewResult]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()


def _all_scores(
    plan: _Plan,
    chosen: set[tuple[str, int]] | None,
    compute: Compute,
    progress: Callable[[str], None] | None,
) -> list[Score]:
    scores: list[Score] = []
    waiting = Counter(
        {
            capture.id: sum(
                chosen is None or (capture.slug, index) in chosen
                for index in range(len(capture.views))
            )
            for capture in plan.run.captures()
        }
    )
    for view, result in compute(plan.views(chosen)):
        fresh = {view.keys[pair]: value for pair, value in result.values.items()}
        if plan.cache is not None and fresh:
            plan.cache.keep(fresh)
        scores += _scores_of(plan, view, result, view.known | fresh)
        waiting[view.capture.id] -= 1
        if progress is not None and waiting[view.capture.id] == 0:
            progress(view.capture.id)
    return scores


def _scores_of(
    plan: _Plan, view: _View, result: ViewResult, values: dict[str, float | None]
) -> Iterator[Score]:
    asked = {spec.id for spec in plan.asked_of(view.capture, view.index)}
    for slot in view.slots:
        failure = slot.failure or result.unusable.get(slot.sha256)
        for spec in plan.specs:
            if failure is not None:
                yield _score(view, slot, spec.id, None, failure.status, failure.reason)
            elif spec.id not in asked:
                limit = plan.protocol.face_max_azimuth_deg
                reason = f"more than {limit:g} degrees from the front, where faces count"
                yield _score(view, slot, spec.id, None, "no_face", reason)
            elif (value := values[view.keys[slot.sha256, spec.id]]) is None:
                reason = "no face is found in the prediction or in the truth"
                yield _score(view, slot, spec.id, None, "no_face", reason)
            else:
                yield _score(view, slot, spec.id, value, "ok", "")


def _score(
    view: _View, slot: _Slot, metric: str, value: float | None, status: Status, reason: str
) -> Score:
    row = view.capture.views[view.index]
    made = slot.prediction
    return Score(
        method=slot.method,
        capture=view.capture.id,
        subject=view.capture.subject,
        view=view.index,
        view_name=row.name,
        azimuth_deg=row.azimuth_deg,
        elevation_deg=row.elevation_deg,
        stratum=row.stratum,
        is_input=view.index == view.capture.input_view,
        alignment=slot.alignment,
        metric=metric,
        value=value,
        status=status,
        reason=reason,
        seconds=None if made is None else made.seconds.infer,
        peak_rss_bytes=None if made is None else made.peak_rss_bytes,
        peak_gpu_bytes=None if made is None else made.peak_gpu_bytes,
        prediction_sha256=slot.sha256,
        truth_sha256=row.truth_sha256,
    )
