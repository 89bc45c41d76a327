"""Speed and memory of scoring; one JSON document on stdout.

Run from the checkout's root: ``python -m benchmarks.evaluate [--quick] [--profile NAME...]``.

Everything is measured in the same run, each in one thread, on pictures made here:

* ``overhead``: wall time of scoring over the sum of the networks' own forward passes on the same
  pictures, the least that any program with these networks could need.
* ``second_method``: what one method more adds, as a share of what the first took.
* ``workers``: wall time with one process over wall time with two, both without starting them.
* ``naive``: one pair at a time by the published packages, truth recomputed, over ours.
* ``memory``: peak resident memory of a process that scores 100 views, and 10,000.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from a3d_bench.evaluate import evaluate
from a3d_bench.metrics import METRICS
from a3d_bench.names import slug
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.scoring import Scorer, ViewJob, read_prediction, read_truth
from a3d_bench.store import CaptureRow, RunFolder, ViewRow
from a3d_bench.types import Prediction
from any3davatar.io import write_png
from any3davatar.networks.lpips_network import ALEX, VGG, LpipsKind, load_lpips

LPIPS_KINDS: dict[str, LpipsKind] = {"lpips[alex]": ALEX, "lpips[vgg]": VGG}
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Case:
    """What is scored."""

    metrics: tuple[str, ...]
    size_px: int
    views: int
    methods: int


QUICK = Case(("psnr", "ssim", "lpips[alex]"), 256, 6, 2)
CASES = (
    Case(("psnr", "ssim", "lpips[alex]"), 64, 400, 3),
    Case(("psnr", "ssim", "lpips[alex]"), 512, 16, 3),
    Case(("psnr", "ssim", "lpips[alex]", "lpips[vgg]"), 512, 3, 3),
)


def tell(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


def rules(case: Case) -> Protocol:
    """Return a protocol that asks for what a case asks for."""
    metrics = f"metrics=[{','.join(case.metrics)}]"
    return load_protocol("smoke", [f"picture.size_px={case.size_px}", metrics])


def write_run(folder: Path, case: Case, distinct: int | None = None) -> RunFolder:
    """Write a run; its pictures are `distinct` ones over and over (all different for None)."""
    run = RunFolder(folder)
    run.write_protocol(rules(case))
    methods = [f"method-{m}" for m in range(case.methods)]
    run.write_run({"methods": {method: {} for method in methods}})
    id_ = "made/head"
    name = slug(id_)
    count = min(case.views, distinct or case.views)
    digests: dict[Path, str] = {}

    def place(path: Path, view: int, seed: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        source = path.parent / f"{view % count:03d}.png"
        if view < count:
            write_png(path, _picture(seed, case.size_px))
            digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            os.link(source, path)
            digests[path] = digests[source]

    for view in range(case.views):
        place(run.truth_path(name, view), view, view)
        for m, method in enumerate(methods):
            place(run.view_path(method, name, view), view, 100_003 * (m + 1) + view)
    rows = tuple(ViewRow(str(v), 0.0, 0.0, "front", "") for v in range(case.views))
    run.write_captures([CaptureRow(id_, name, "head", "made", 0, {}, {}, rows)])
    for method in methods:
        paths = [run.view_path(method, name, view) for view in range(case.views)]
        files = {f"views/{path.name}": digests[path] for path in paths}
        run.write_prediction(name, Prediction("", method, id_, "head", "ok", "", files))
    return run


def _picture(seed: int, size_px: int) -> Tensor:
    """Return something like a rendered head: a textured disc before white."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 12, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, (size_px, size_px), mode="bicubic")[0]
    textured = smooth + 0.02 * torch.randn(3, size_px, size_px, generator=g)
    ticks = torch.linspace(-1, 1, size_px)
    return torch.where(ticks.square() + ticks[:, None].square() < 0.5, textured, 1.0)


def seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the median wall time of some work."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def jobs(run: RunFolder, case: Case, methods: int) -> list[ViewJob]:
    """Return what `evaluate` hands out for the first methods of a run."""
    from a3d_bench.scoring import PictureJob

    name = slug("made/head")
    return [
        ViewJob(
            run.truth_path(name, view),
            WHITE,
            tuple(
                PictureJob(str(m), run.view_path(f"method-{m}", name, view), case.metrics)
                for m in range(methods)
            ),
        )
        for view in range(case.views)
    ]


def forward_seconds(work: Sequence[ViewJob], case: Case, scorer: Scorer) -> float:
    """Return the time of the networks' own forward passes over all pictures, each once."""
    total = 0.0
    for id_ in case.metrics:
        if id_ not in LPIPS_KINDS:
            continue
        network: Any = scorer.metric(id_)
        backbone = network.backbone
        for job in work:
            truth = read_truth(job.truth, job.background)
            pictures = [truth, *(read_prediction(each.path, truth) for each in job.pictures)]
            for picture in pictures:
                assert isinstance(picture, Tensor)
                batch = picture[None].contiguous(memory_format=torch.channels_last)
                with torch.inference_mode():
                    start = time.perf_counter()
                    backbone(batch)
                    total += time.perf_counter() - start
    return total


class Naive:
    """What people write: one pair at a time, by the published packages."""

    def __init__(self, case: Case) -> None:
        import lpips

        self.case = case
        self.networks = {}
        for id_, kind in LPIPS_KINDS.items():
            if id_ in case.metrics:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    network = lpips.LPIPS(net=kind.name, pnet_rand=True, verbose=False)
                network.load_state_dict(load_lpips(kind).state_dict())
                self.networks[id_] = network

    def score(self, work: Sequence[ViewJob]) -> None:
        """Score every prediction by itself."""
        import numpy as np
        from PIL import Image
        from skimage import metrics

        similarity: Callable[..., Any] = metrics.structural_similarity
        for job in work:
            for picture in job.pictures:
                a, b = (
                    np.asarray(Image.open(path).convert("RGB"), dtype=np.float64) / 255
                    for path in (job.truth, picture.path)
                )
                metrics.peak_signal_noise_ratio(a, b, data_range=1)
                similarity(
                    a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                    data_range=1, channel_axis=-1,
                )  # fmt: skip
                x, y = (torch.from_numpy(p).float().movedim(-1, 0)[None] for p in (a, b))
                for network in self.networks.values():
                    with torch.no_grad():
                        network(x, y, normalize=True)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Measure everything but workers and memory on one case."""
    run = write_run(folder, case)
    first, both, every = (jobs(run, case, m) for m in (1, 2, case.methods))
    scorer = Scorer()
    for job in first[:2]:  # load, compile, warm
        scorer.score(job)

    def ours(work: Sequence[ViewJob]) -> None:
        for job in work:
            scorer.score(job)

    naive = Naive(case)
    naive.score(first[:1])
    one, two = seconds(lambda: ours(first)), seconds(lambda: ours(both))
    all_ = seconds(lambda: ours(every))
    forward = statistics.median(forward_seconds(every, case, scorer) for _ in range(3))
    peer = seconds(lambda: naive.score(every))
    return {
        **asdict(case),
        "seconds_first_method": one,
        "seconds_two_methods": two,
        "second_method": two / one - 1,
        "seconds_all_methods": all_,
        "forward_seconds": forward,
        "overhead": all_ / forward if forward else None,
        "naive_seconds": peer,
        "naive": peer / all_,
    }


def measure_workers(case: Case, folder: Path) -> dict[str, Any]:
    """Compare two processes with one; the time to start them, over a tiny run, is taken off."""
    run = write_run(folder / "run", case)
    tiny = write_run(folder / "tiny", Case(case.metrics, case.size_px, 2, 1))

    def wall(of: RunFolder, workers: int) -> float:
        methods = of.methods()
        return seconds(
            lambda: evaluate(
                of, methods=methods, alignments=("none",), workers=workers, use_cache=False
            ),
            repeats=1,
        )

    times = {w: wall(run, w) for w in (1, 2)}
    starts = {w: wall(tiny, w) for w in (1, 2)}  # also loads and compiles
    net = {w: times[w] - starts[w] for w in (1, 2)}
    return {
        **asdict(case),
        "seconds": times,
        "start_seconds": starts,
        "workers": net[1] / net[2],
        "workers_with_start": times[1] / times[2],
    }


def peak_rss_bytes(views: int, size_px: int) -> int:
    """Score in a process of its own and return its peak resident memory."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_score_and_weigh, (views, size_px))


def _score_and_weigh(views: int, size_px: int) -> int:
    torch.set_num_threads(1)
    case = Case(("psnr", "ssim", "lpips[alex]"), size_px, views, 1)
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), case, distinct=8)
        evaluate(run, methods=run.methods(), alignments=("none",), use_cache=False)
    # Not getrusage: what that says of a new process includes the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed and memory of scoring.")
    parser.add_argument("--quick", action="store_true", help="small, for a look")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    missing = [
        reason for case in CASES for id_ in case.metrics if (reason := METRICS[id_].available())
    ]
    if missing:
        sys.exit(missing[0])
    cases = (QUICK,) if quick else CASES
    report: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "torch": torch.__version__,
        "load_before": os.getloadavg(),
        "cases": [],
    }
    for case in cases:
        tell(f"{case}")
        with tempfile.TemporaryDirectory() as folder:
            report["cases"].append(measure(case, Path(folder)))
    if not quick:  # starting processes would be all there is to see
        tell("workers")
        with tempfile.TemporaryDirectory() as folder:
            spread = Case(("psnr", "ssim", "lpips[alex]"), 512, 60, 2)
            report["workers"] = measure_workers(spread, Path(folder))
    tell("memory")
    few, many = (20, 200) if quick else (100, 10_000)
    peaks = {views: peak_rss_bytes(views, 64) for views in (few, many)}
    report["memory"] = {"peak_rss_bytes": peaks, "growth": peaks[many] / peaks[few]}
    report["load_after"] = os.getloadavg()
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
