"""The watch: what each stage of a method takes.

The harness holds the watch around loading, reconstruction and every rendered frame. A method that
wants its preprocessing told apart says so::

    with stage("preprocess"):
        crop = align_face(portrait)
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from a3d_bench.types import Avatar, MethodError, Seconds
from any3davatar.core import Cameras, Views

Stage = Literal["load", "preprocess"]


@dataclass
class Watch:
    """Seconds by stage, added up while it is worn."""

    seconds: dict[Stage, float] = field(default_factory=dict)

    @contextmanager
    def worn(self) -> Iterator["Watch"]:
        """Let `stage` count here, within the block."""
        token = _WORN.set(self)
        try:
            yield self
        finally:
            _WORN.reset(token)


_WORN: ContextVar[Watch | None] = ContextVar("a3d_bench_watch", default=None)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Count the block as `name` and not as reconstruction; without the harness it does nothing.

    Args:
        name: ``load`` for weights that are loaded late, ``preprocess`` for cropping, matting and
            tracking.
    """
    watch = _WORN.get()
    if watch is None:
        yield
        return
    start = now_synchronised()
    try:
        yield
    finally:
        took = now_synchronised() - start
        watch.seconds[name] = watch.seconds.get(name, 0.0) + took


def now_synchronised() -> float:
    """Return the time in seconds once the GPU, where one is used, has done what it was given."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class RenderTime:
    """What frames took.

    Attributes:
        warm_up: seconds of the first frame, which is rendered once before and not counted.
        median: seconds a frame.
        p95: 95th percentile of the seconds a frame.
        frames: how many were timed.
    """

    warm_up: float
    median: float
    p95: float
    frames: int


def render_timed(
    avatar: Avatar,
    cameras: Cameras,
    background: Float[Tensor, "3"],
    on_view: Callable[[int, Views], None],
) -> RenderTime:
    """Render every camera by itself, after one frame to warm up, and hand each view on.

    Raises:
        MethodError: a view is not one picture of the asked size.
    """
    import numpy as np

    start = now_synchronised()
    avatar.render(cameras[:1], background)
    warm_up = now_synchronised() - start
    took = []
    for index in range(len(cameras)):
        start = now_synchronised()
        views = avatar.render(cameras[index : index + 1], background)
        took.append(now_synchronised() - start)
        expected = (1, 3, cameras.height, cameras.width)
        if tuple(views.rgb.shape) != expected:
            raise MethodError(
                f"view {index}: render returned {tuple(views.rgb.shape)}, expected {expected}"
            )
        on_view(index, views)
    return RenderTime(warm_up, float(np.median(took)), float(np.percentile(took, 95)), len(took))


def seconds_of(watch: Watch, *, load: float | None, infer: float, rendered: RenderTime) -> Seconds:
    """Return the stages of a subject; what `stage` counted is taken off `infer`."""
    late = watch.seconds.get("load", 0.0)
    preprocess = watch.seconds.get("preprocess")
    return Seconds(
        load=None if load is None else load + late,
        preprocess=preprocess,
        infer=max(infer - late - (preprocess or 0.0), 0.0),
        render=rendered.median,
        render_p95=rendered.p95,
        frames=rendered.frames,
    )


def device_stamp() -> str:
    """Return what this process computes on: ``cuda: name`` or ``cpu: name, N threads``."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return f"cuda: {torch.cuda.get_device_name()}"
    from a3d_bench.provenance import machine

    return f"cpu: {machine()['processor']}, {torch.get_num_threads()} threads"
