"""Speed, memory and agreement of the CPU rasterizer; one JSON document on stdout.

Run from the checkout's root: ``python -m benchmarks.raster [--quick] [--plot FILE] [--leak]``.
The reference is timed in the same run with the same number of threads, so that the ratio means
something on a machine that others use too.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from any3davatar.render import cpu, reference
from any3davatar.render.cpu.build import find_compiler, selected_build
from any3davatar.render.settings import Rasterized, RasterSettings
from tests.render.scenes import DIFFERENTIABLE, RasterScene, cloud_scene, head_scene

Backend = Callable[..., Rasterized]
SCENES: dict[str, Callable[..., RasterScene]] = {"head": head_scene, "cloud": cloud_scene}


@dataclass(frozen=True)
class Case:
    """One size of the task: N Gaussians seen by so many square views."""

    scene: str
    gaussians: int
    size_px: int
    views: int
    reference_backward: bool = True  # at a million it takes minutes

    def make(self) -> RasterScene:
        """Build the scene."""
        return SCENES[self.scene](self.gaussians, width=self.size_px, views=self.views)


CASES = (
    Case("head", 2**14, 128, 8),
    Case("head", 2**16, 256, 1),
    Case("head", 2**18, 512, 1),
    Case("head", 2**20, 512, 1, reference_backward=False),
)
QUICK_CASES = (Case("head", 2**14, 128, 8), Case("head", 2**16, 256, 1))
OTHER_SCENE = (Case("cloud", 2**14, 128, 8), Case("cloud", 2**18, 512, 1))
GAUSSIANS_SWEEP = tuple(2**k for k in range(14, 23))  # at 512 px
SIZE_SWEEP_PX = (64, 128, 256, 512, 1024, 2048)  # at 262,144 Gaussians


def tell(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of wall time over some repeats."""

    forward_ms: float
    backward_ms: float | None
    forward_min_ms: float
    backward_min_ms: float | None
    repeats: int


def time_backend(
    backend: Backend, case: Case, scene: RasterScene, *, repeats: int, backward: bool = True
) -> tuple[Timing, Rasterized]:
    """Time renders and, if asked, gradients with respect to everything differentiable."""
    leaves = scene.requiring_grad() if backward else scene
    wanted = [t for name in DIFFERENTIABLE if (t := getattr(leaves, name)) is not None]
    upstream = torch.randn(
        1, case.views, 3, case.size_px, case.size_px, generator=torch.Generator().manual_seed(1)
    )
    forward_ms, backward_ms = [], []
    while True:
        start = time.perf_counter()
        result = backend(
            *leaves.arguments(),
            width=case.size_px,
            height=case.size_px,
            settings=RasterSettings(),
            with_depth=False,
        )
        forward_ms.append(1e3 * (time.perf_counter() - start))
        if backward:
            start = time.perf_counter()
            torch.autograd.grad(result.channels, wanted, upstream)
            backward_ms.append(1e3 * (time.perf_counter() - start))
        if len(forward_ms) == repeats:
            break
    timing = Timing(
        statistics.median(forward_ms),
        statistics.median(backward_ms) if backward else None,
        min(forward_ms),
        min(backward_ms) if backward else None,
        repeats,
    )
    return timing, result


def peak_mb_above_inputs(case: Case) -> float | None:
    """Return how far resident memory rises above the inputs in one forward and backward pass.

    Measured in a process of its own, where no freed memory waits to be used again. Linux only.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_mb_here, (case,))


def _peak_mb_here(case: Case) -> float | None:
    small = Case("head", 64, 16, 1)
    time_backend(cpu.rasterize, small, small.make(), repeats=1)  # loads the kernel
    scene = case.make()
    clear_refs = Path("/proc/self/clear_refs")
    if not clear_refs.exists():
        return None

    def status_kb(field: str) -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise RuntimeError(f"/proc/self/status has no {field}")

    clear_refs.write_text("5")  # resets the peak
    before_kb = status_kb("VmRSS")
    time_backend(cpu.rasterize, case, scene, repeats=1)
    return (status_kb("VmHWM") - before_kb) / 1024


def agreement(ours: Rasterized, theirs: Rasterized) -> dict[str, float]:
    """Compare pictures: the bulk, and the share of values that a threshold has moved."""
    difference = (ours.channels - theirs.channels).detach().abs().flatten()
    return {
        "mean": float(difference.mean()),
        "p99.9": float(difference.kthvalue(int(0.999 * difference.numel())).values),
        "share_above_1e-4": float((difference > 1e-4).float().mean()),
    }


def measure(case: Case, *, threads: tuple[int, ...], repeats: int, against: bool) -> dict[str, Any]:
    """Measure one case at each number of threads, against the reference if asked."""
    scene = case.make()
    by_threads: dict[str, Any] = {}
    for count in threads:
        torch.set_num_threads(count)
        time_backend(cpu.rasterize, case, scene, repeats=2)  # warm up
        ours, our_pictures = time_backend(cpu.rasterize, case, scene, repeats=repeats)
        row: dict[str, Any] = {"cpu": asdict(ours)}
        tell(f"{case} {count} threads: {ours.forward_ms:.1f} / {ours.backward_ms:.1f} ms")
        if against:
            theirs, their_pictures = time_backend(
                reference.rasterize, case, scene, repeats=1, backward=case.reference_backward
            )
            row["reference"] = asdict(theirs)
            row["forward_ratio"] = theirs.forward_ms / ours.forward_ms
            if theirs.backward_ms is not None and ours.backward_ms is not None:
                row["backward_ratio"] = theirs.backward_ms / ours.backward_ms
            row["difference"] = agreement(our_pictures, their_pictures)
            tell(f"    reference: {theirs.forward_ms:.0f} / {theirs.backward_ms} ms")
        by_threads[str(count)] = row
    result: dict[str, Any] = {"case": asdict(case), "by_threads": by_threads}
    first, last = (by_threads[str(count)]["cpu"] for count in (threads[0], threads[-1]))
    result["scaling"] = {
        "threads": [threads[0], threads[-1]],
        "forward": first["forward_ms"] / last["forward_ms"],
        "backward": first["backward_ms"] / last["backward_ms"],
    }
    result["peak_mb_above_inputs"] = peak_mb_above_inputs(case)
    return result


def sweep(cases: list[Case], *, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time the kernel over a range of sizes."""
    torch.set_num_threads(threads)
    rows = []
    for case in cases:
        scene = case.make()
        time_backend(cpu.rasterize, case, scene, repeats=1)
        timing, _ = time_backend(cpu.rasterize, case, scene, repeats=repeats)
        tell(f"{case}: {timing.forward_ms:.1f} / {timing.backward_ms:.1f} ms")
        rows.append({"gaussians": case.gaussians, "size_px": case.size_px} | asdict(timing))
    return rows


def leak(renders: int) -> dict[str, Any]:
    """Render many times with gradients and record resident memory along the way."""
    case = Case("head", 2**14, 128, 2)
    scene = case.make()
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    resident_mb = []
    for i in range(renders + 1):
        time_backend(cpu.rasterize, case, scene, repeats=1)
        if i % (renders // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident_mb.append(pages * page_mb)
            tell(f"{i} renders: {resident_mb[-1]:.1f} MB")
    return {"renders": renders, "resident_mb": resident_mb}


def machine() -> dict[str, Any]:
    """Describe what the numbers were made on."""
    cpuinfo = Path("/proc/cpuinfo")
    model = platform.processor()
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
        "system": platform.platform(),
    }


def short(count: int) -> str:
    """Write a power of two as people do: 16k, 1M."""
    return f"{count >> 20}M" if count >= 2**20 else f"{count >> 10}k"


def plot(document: dict[str, Any], target: Path) -> None:
    """Draw the sweeps, double logarithmic, each with a line of slope one."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sweeps = document["sweeps"]
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    axes = (
        (panels[0], sweeps["gaussians"], "gaussians", "Gaussians (512 px)"),
        (panels[1], sweeps["size_px"], "pixels", "pixels (262,144 Gaussians)"),
    )
    for panel, rows, key, label in axes:
        x = [row["size_px"] ** 2 if key == "pixels" else row["gaussians"] for row in rows]
        panel.loglog(x, [row["forward_ms"] for row in rows], "o-", label="forward")
        panel.loglog(x, [row["backward_ms"] for row in rows], "s-", label="backward")
        last_ms = rows[-1]["backward_ms"]
        guide = [last_ms * value / x[-1] for value in x]
        panel.loglog(x, guide, "--", color="grey", linewidth=1, label="slope 1")
        panel.set_xlabel(label)
        panel.set_xticks(
            x,
            [
                f"{row['size_px']}²" if key == "pixels" else short(v)
                for v, row in zip(x, rows, strict=True)
            ],
        )
        panel.minorticks_off()
        panel.grid(True, which="major", linewidth=0.3)
        panel.legend(frameon=False)
    panels[0].set_ylabel(f"ms, {sweeps['threads']} threads")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=160)
    plt.close(figure)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small cases, short sweeps")
    parser.add_argument("--no-reference", action="store_true", help="time the kernel only")
    parser.add_argument("--plot", type=Path, help="draw the sweeps into this file")
    parser.add_argument("--leak", action="store_true", help="also render 1,000 times")
    parser.add_argument("--threads", type=int, default=2, help="compared with one thread")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()

    threads = tuple(dict.fromkeys((1, options.threads)))
    quick, repeats = options.quick, options.repeats if not options.quick else 5
    counts = GAUSSIANS_SWEEP[:5:2] if quick else GAUSSIANS_SWEEP
    sizes = SIZE_SWEEP_PX[1:4] if quick else SIZE_SWEEP_PX
    compiler = find_compiler()
    document: dict[str, Any] = {
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "kernel_build": selected_build(),
            "compiler": compiler[0] if compiler else None,
        },
        "cases": [
            measure(case, threads=threads, repeats=repeats, against=not options.no_reference)
            for case in (QUICK_CASES if quick else CASES)
        ],
        "random_cloud": [
            measure(case, threads=threads, repeats=repeats, against=False)
            for case in (OTHER_SCENE[:1] if quick else OTHER_SCENE)
        ],
        "sweeps": {
            "threads": options.threads,
            "gaussians": sweep(
                [Case("head", count, 512, 1) for count in counts],
                threads=options.threads,
                repeats=5,
            ),
            "size_px": sweep(
                [Case("head", 2**18, size, 1) for size in sizes],
                threads=options.threads,
                repeats=5,
            ),
        },
    }
    if options.leak:
        document["leak"] = leak(1000)
    if options.plot is not None:
        plot(document, options.plot)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
