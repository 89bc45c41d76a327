"""What methods took, stage by stage, and never two devices or two watches in one number."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from a3d_bench.types import Prediction, Seconds


@dataclass(frozen=True)
class Stage:
    """A stage over subjects.

    Attributes:
        median: seconds; None where nobody measured it.
        p95: 95th percentile, seconds; for rendering, the median subject's 95th percentile frame.
    """

    median: float | None
    p95: float | None


@dataclass(frozen=True)
class Timing:
    """What a method took on one device, by one watch.

    Attributes:
        method: id of the method.
        device: that it ran on.
        timed_by: who held the watch (`a3d_bench.types.Prediction.timed_by`).
        subjects: captures that were reconstructed and timed.
        load: weights to memory.
        preprocess: cropping, matting, tracking.
        infer: portrait to avatar.
        render: one frame.
        peak_rss_bytes: the highest over subjects, or None.
        peak_gpu_bytes: the highest over subjects, or None.
    """

    method: str
    device: str
    timed_by: str
    subjects: int
    load: Stage
    preprocess: Stage
    infer: Stage
    render: Stage
    peak_rss_bytes: int | None
    peak_gpu_bytes: int | None


def timings(predictions: Iterable[Prediction]) -> tuple[Timing, ...]:
    """Return one row a method, device and watch, in the order of the predictions.

    Predictions that failed are left out: a crash after a second is no speed.
    """
    groups: dict[tuple[str, str, str], list[Prediction]] = {}
    for prediction in predictions:
        if prediction.status == "ok":
            key = (prediction.method, prediction.device, prediction.timed_by)
            groups.setdefault(key, []).append(prediction)
    return tuple(_timing(*key, group) for key, group in groups.items())


def _timing(method: str, device: str, timed_by: str, group: Sequence[Prediction]) -> Timing:
    seconds = [prediction.seconds for prediction in group]
    frame_p95 = _known(seconds, lambda each: each.render_p95)
    return Timing(
        method,
        device,
        timed_by,
        len(group),
        _stage(_known(seconds, lambda each: each.load)),
        _stage(_known(seconds, lambda each: each.preprocess)),
        _stage(_known(seconds, lambda each: each.infer)),
        Stage(
            _stage(_known(seconds, lambda each: each.render)).median,
            float(np.median(frame_p95)) if frame_p95 else None,
        ),
        max((p.peak_rss_bytes for p in group if p.peak_rss_bytes is not None), default=None),
        max((p.peak_gpu_bytes for p in group if p.peak_gpu_bytes is not None), default=None),
    )


def _known(seconds: Iterable[Seconds], stage: Callable[[Seconds], float | None]) -> list[float]:
    return [value for each in seconds if (value := stage(each)) is not None]


def _stage(values: Sequence[float]) -> Stage:
    if not values:
        return Stage(None, None)
    return Stage(float(np.median(values)), float(np.quantile(values, 0.95)))
