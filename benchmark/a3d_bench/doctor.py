"""``a3d-bench doctor``: what this machine has of what the harness can use."""

import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

Status = Literal["ok", "absent", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: what was looked at.
        status: "ok", "absent" (optional and not there) or "broken" (needed and not working).
        detail: what was found, and the command that mends it where something is missing.
    """

    name: str
    status: Status
    detail: str


def _python() -> Finding:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", "ok" if supported else "broken", f"{detail} (3.11 to 3.13 work)")


def _torch() -> Finding:
    import torch

    detail = f"{torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores"
    return Finding("torch", "ok", detail)


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "absent", "no CUDA device: everything runs on the CPU")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    try:
        return Finding("GPU", "ok", f"{', '.join(names)}; gsplat {version('gsplat')}")
    except PackageNotFoundError:
        return Finding("GPU", "broken", f"{', '.join(names)}, but gsplat is not installed")


def _rasterizer() -> Finding:
    """Build or load the CPU kernel, and let it draw one Gaussian."""
    import torch

    from any3davatar.core import Gaussians
    from any3davatar.core.rigs import canonical_four
    from any3davatar.render import cpu, render

    start = time.perf_counter()
    try:
        cpu.load()
    except cpu.KernelUnavailable as error:
        return Finding(
            "CPU rasterizer", "absent", f"the slow reference renders; install g++. {error}"
        )
    one = Gaussians.from_rgb(
        torch.zeros(1, 3),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.full((1, 3), 0.3),
        torch.ones(1),
        torch.tensor([[1.0, 0, 0]]),
    )
    view = render(one, canonical_four(16), torch.zeros(3), backend=cpu)
    if not (float(view.rgb[0, 0].max()) > 0.9 and float(view.rgb[0, 1].max()) < 0.01):
        return Finding("CPU rasterizer", "broken", "one red Gaussian did not come out red")
    return Finding("CPU rasterizer", "ok", f"ready in {time.perf_counter() - start:.1f} s")


def _video() -> Finding:
    import av

    if "libx264" not in av.codecs_available:
        return Finding("H.264", "absent", "this build of PyAV has no libx264: no MP4 turntables")
    return Finding("H.264", "ok", f"PyAV {av.__version__} with libx264")


def _methods() -> Finding:
    from a3d_bench.methods import all_methods

    found = all_methods()
    return Finding("methods", "ok", f"{len(found)}: `a3d-bench methods list`")


def metric_findings() -> list[Finding]:
    """Return a finding a metric: whether its network is here, and what fetches it."""
    from a3d_bench.metrics import METRICS, unavailable_metrics

    lacking = unavailable_metrics(METRICS)
    return [
        Finding(id_, "absent" if id_ in lacking else "ok", lacking.get(id_, METRICS[id_].source))
        for id_ in METRICS
    ]


CHECKS: tuple[Callable[[], Finding], ...] = (_python, _torch, _gpu, _rasterizer, _video, _methods)


def examine() -> list[Finding]:
    """Run all checks. A check that fails by itself is a finding, not a crash."""
    findings = []
    for check in CHECKS:
        try:
            findings.append(check())
        except Exception as error:  # the doctor reports whatever is broken
            name = check.__name__.strip("_")
            findings.append(Finding(name, "broken", f"{type(error).__name__}: {error}"))
    try:
        findings += metric_findings()
    except Exception as error:  # as above
        findings.append(Finding("metrics", "broken", f"{type(error).__name__}: {error}"))
    return findings
