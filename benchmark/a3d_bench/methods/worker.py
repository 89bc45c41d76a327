"""The process that holds a Python method: it loads once and answers one job after another.

``python -m a3d_bench.methods.worker CARD.json FOLDER ANSWERS`` reads a line of JSON for each job
from its standard input, ``{"job": ..., "log": ...}``, and writes a line for each to the file
descriptor ANSWERS: first ``{"loaded": seconds}`` or ``{"unavailable": reason}``, then one answer a
job. What the method prints goes to the job's log.

A hang or a crash here costs one subject: `a3d_bench.methods.runners` ends the process and starts
another.
"""

import importlib
import json
import os
import random
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from a3d_bench.errors import BenchError
from a3d_bench.methods.card import PythonRunner, card_of
from a3d_bench.methods.job import Job, read_job
from a3d_bench.methods.registry import load_file
from a3d_bench.methods.stages import (
    Watch,
    device_stamp,
    now_synchronised,
    render_timed,
    seconds_of,
)
from a3d_bench.types import Avatar, Method, MethodError, TruthMethod
from any3davatar.core import Gaussians, Views
from any3davatar.io import write_ply, write_png

_REASON_LIMIT = 500  # characters


def load_class(entry: str, folder: Path | None) -> type:
    """Return the class that ``module:Class`` or ``file.py:Class`` names.

    Raises:
        BenchError: it can't be imported.
    """
    place, _, name = entry.partition(":")
    if place.endswith(".py"):
        if folder is None:
            raise BenchError(f"{entry}: a file beside the card, but the card has no folder")
        module = load_file(folder / place)
    else:
        try:
            module = importlib.import_module(place)
        except Exception as error:  # whatever a stranger's module raises
            raise BenchError(
                f"{place} can't be imported: {type(error).__name__}: {error}; install what the "
                "method needs into this environment, or give it a runner of kind command"
            ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise BenchError(f"{place} has no class {name}")
    return found


def main() -> None:
    """Load the method, then answer jobs until the input ends."""
    card_json, folder, answers = sys.argv[1:4]
    out = os.fdopen(int(answers), "w", encoding="utf-8")

    def answer(values: dict[str, Any]) -> None:
        out.write(json.dumps(values) + "\n")
        out.flush()

    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    start = now_synchronised()
    try:
        card = card_of(json.loads(card_json), "card")
        assert isinstance(card.runner, PythonRunner)
        found = load_class(card.runner.entry, Path(folder) if folder else None)
        method = found(**card.runner.options)
        wanted = TruthMethod if card.sees_truth else Method
        if not isinstance(method, wanted):
            needed = "reconstruct_from_truth" if card.sees_truth else "reconstruct"
            raise BenchError(f"{card.runner.entry} has no method {needed}")
    except Exception as error:
        traceback.print_exc()
        told = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        answer({"unavailable": told[:_REASON_LIMIT]})
        return
    load = now_synchronised() - start
    answer({"loaded": load})
    for line in sys.stdin:
        request = json.loads(line)
        _print_into(request["log"])
        answer(_answered(method, read_job(Path(request["job"])), load))
        sys.stdout.flush()
        sys.stderr.flush()


def _answered(method: Method | TruthMethod, job: Job, load: float) -> dict[str, Any]:
    os.chdir(job.folder)
    random.seed(job.seed)
    np.random.seed(job.seed % 2**32)
    torch.manual_seed(job.seed)
    own_peak = _forget_peak()
    try:
        values = _done(method, job, load)
    except MethodError as error:
        values = _failed("method_error", str(error))
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        traceback.print_exc()
        values = _failed("oom", f"{type(error).__name__}: {error}")
    except Exception as error:  # a method may raise anything; it costs this subject only
        traceback.print_exc()
        values = _failed("method_error", f"{type(error).__name__}: {error}")
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
    peak = _peak_rss_bytes() if own_peak else None
    return {
        **values, "peak_rss_bytes": peak, "peak_gpu_bytes": gpu, "device": device_stamp()
    }  # fmt: skip


def _done(method: Method | TruthMethod, job: Job, load: float) -> dict[str, Any]:
    portrait, cameras = job.portrait(), job.cameras()
    truth = job.truth() if job.shows_truth else None
    with Watch().worn() as watch:
        start = now_synchronised()
        if truth is None:
            assert isinstance(method, Method)
            avatar = method.reconstruct(portrait, seed=job.seed)
        else:
            assert isinstance(method, TruthMethod)
            avatar = method.reconstruct_from_truth(portrait, truth, cameras, seed=job.seed)
        infer = now_synchronised() - start
        if not isinstance(avatar, Avatar):
            raise MethodError(
                f"reconstruct returned {type(avatar).__name__}, expected something with render()"
            )
        not_finite: list[int] = []
        rendered = render_timed(
            avatar, cameras, job.background_tensor(), _Writer(job.out, not_finite).write
        )
    gaussians = getattr(avatar, "gaussians", None)
    if isinstance(gaussians, Gaussians):
        write_ply(job.out / "gaussians.ply", gaussians.to("cpu"))
    details = {str(k): str(v) for k, v in dict(getattr(avatar, "details", {})).items()}
    details["warm_up_seconds"] = f"{rendered.warm_up:.6g}"
    if not_finite:
        details["not_finite_views"] = ",".join(str(index) for index in not_finite)
    seconds = seconds_of(watch, load=load, infer=infer, rendered=rendered)
    return {"status": "ok", "reason": "", "seconds": asdict(seconds), "details": details}


class _Writer:
    """Writes the views of a job; one with values that are not finite is left out and told."""

    def __init__(self, out: Path, not_finite: list[int]) -> None:
        self._folder = out / "views"
        self._folder.mkdir()
        self._not_finite = not_finite

    def write(self, index: int, views: Views) -> None:
        rgb = views.rgb[0].detach().float().cpu()
        if bool(torch.isfinite(rgb).all()):
            write_png(self._folder / f"{index:03d}.png", rgb.clamp(0, 1))
        else:
            self._not_finite.append(index)


def _failed(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason[:_REASON_LIMIT] or "no reason given"}


def _print_into(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _forget_peak() -> bool:
    """Start anew the peak that the system keeps for this process; tell whether it can."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_rss_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(lines[0].split()[1]) if lines else None


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
