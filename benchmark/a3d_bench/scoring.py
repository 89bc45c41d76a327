"""What a worker does: read the pictures of one view, describe the truth once, compare.

A job is plain data and so is its result: how jobs are spread over processes changes nothing.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.errors import BenchError
from a3d_bench.metrics import METRICS, Metric
from a3d_bench.types import Status
from any3davatar.core import InvalidInput
from any3davatar.core.images import composite
from any3davatar.io import FormatError, read_png


@dataclass(frozen=True)
class PictureJob:
    """A predicted picture and what is wanted of it.

    Attributes:
        sha256: of its file.
        path: of its file.
        metrics: ids of values that are not known yet.
    """

    sha256: str
    path: Path
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class ViewJob:
    """Everything that is compared with one true picture.

    Attributes:
        truth: its file, RGBA.
        background: sRGB colour that the truth is laid over.
        pictures: different ones.
    """

    truth: Path
    background: tuple[float, float, float]
    pictures: tuple[PictureJob, ...]


@dataclass(frozen=True)
class Unusable:
    """Why a picture has no values.

    Attributes:
        status: ``unreadable``, ``wrong_size`` or ``degenerate``.
        reason: one line.
    """

    status: Status
    reason: str


@dataclass(frozen=True)
class ViewResult:
    """What came of a job.

    Attributes:
        values: by SHA-256 of the picture and metric; None where no face is seen.
        unusable: by SHA-256 of the picture.
    """

    values: Mapping[tuple[str, str], float | None] = field(default_factory=dict)
    unusable: Mapping[str, Unusable] = field(default_factory=dict)


class Scorer:
    """Holds the metrics that were needed so far; each is loaded once a process."""

    def __init__(self) -> None:
        self._loaded: dict[str, Metric] = {}

    def score(self, job: ViewJob) -> ViewResult:
        """Return the values that a job asks for.

        Raises:
            BenchError: the true picture is damaged, or a network is not the one it should be.
        """
        truth = read_truth(job.truth, job.background)
        values: dict[tuple[str, str], float | None] = {}
        unusable: dict[str, Unusable] = {}
        usable: list[tuple[PictureJob, Tensor]] = []
        for picture in job.pictures:
            read = read_prediction(picture.path, truth)
            if isinstance(read, Unusable):
                unusable[picture.sha256] = read
            else:
                usable.append((picture, read))
        # A metric at a time: the largest description, VGG's, is 130 MB at 512 pixels.
        for id_ in dict.fromkeys(id_ for picture, _ in usable for id_ in picture.metrics):
            metric = self.metric(id_)
            described = metric.describe(truth)
            for picture, rgb in usable:
                if id_ in picture.metrics:
                    values[picture.sha256, id_] = _value(metric, described, rgb)
        return ViewResult(values, unusable)

    def metric(self, id_: str) -> Metric:
        """Return a metric, loaded when it is first asked for."""
        if id_ not in self._loaded:
            self._loaded[id_] = METRICS[id_].load()
        return self._loaded[id_]


def _value(metric: Metric, truth: Any | None, rgb: Tensor) -> float | None:
    if truth is None:
        return None
    described = metric.describe(rgb)
    return None if described is None else metric.compare(truth, described)


def read_truth(path: Path, background: tuple[float, float, float]) -> Float[Tensor, "3 H W"]:
    """Return a true picture over the background, in 255ths, as a perfect prediction is stored.

    Raises:
        BenchError: the file is damaged or missing.
    """
    try:
        rgb, alpha = read_png(path)
    except (FormatError, OSError) as error:
        raise BenchError(
            f"the true picture {path} can't be read: {error}. Delete it and run `a3d-bench run` "
            "with the same arguments: it is made again"
        ) from error
    if alpha is None:
        return rgb
    over = composite(rgb, alpha, torch.tensor(background))
    return over.double().mul_(255).round_().div_(255).float()


def read_prediction(path: Path, truth: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"] | Unusable:
    """Return a predicted picture, or why it can't be scored."""
    try:
        rgb, alpha = read_png(path)
    except (FormatError, InvalidInput, OSError) as error:
        return Unusable("unreadable", _line(f"{path.name} is no picture: {error}"))
    if rgb.shape != truth.shape:
        got, expected = _size(rgb), _size(truth)
        return Unusable("wrong_size", f"{path.name} is {got}, expected {expected}")
    if alpha is not None and float(alpha.min()) < 1:
        return Unusable(
            "unreadable",
            f"{path.name} is transparent; expected RGB over the protocol's background",
        )
    if bool((rgb == rgb[:, :1, :1]).all()):
        color = "".join(f"{round(255 * c):02x}" for c in rgb[:, 0, 0].tolist())
        return Unusable("degenerate", f"every pixel of {path.name} is #{color}")
    return rgb


def _size(rgb: Tensor) -> str:
    return f"{rgb.shape[2]} x {rgb.shape[1]} pixels"


def _line(text: str) -> str:
    return " ".join(text.split())[:400]


_scorer: Scorer | None = None


def begin_worker() -> None:
    """Make a process ready to be a worker: one thread, no Ctrl-C, an end when its parent ends."""
    import multiprocessing
    import signal
    from multiprocessing.connection import wait

    global _scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and lets views be finished
    torch.set_num_threads(1)
    _scorer = Scorer()
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)  # whoever killed the parent wants no process that waits for it for ever

    threading.Thread(target=follow, daemon=True).start()


def score_in_worker(job: ViewJob) -> ViewResult:
    """Return `Scorer.score` of this worker's own scorer."""
    if _scorer is None:
        raise RuntimeError("begin_worker was not called in this process")
    return _scorer.score(job)
