"""What the data suite costs: ``python -m benchmarks.data [--size 512] [--workers 2]`` prints JSON.

Builds part of ``anyhead-mini`` and an accessory head and an AI-generated head into a temporary
folder, verifies it, and reports seconds of wall clock and of CPU (children included) for each.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from any3davatar.anyhead import people, ready
from any3davatar.anyhead.build import build
from any3davatar.anyhead.subsets.accessory_rich import AccessoryHeads
from any3davatar.anyhead.subsets.ai_generated import AiGeneratedHeads
from any3davatar.anyhead.subsets.digital_human import Drawing
from any3davatar.anyhead.verify import verify


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _timed(work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    work()
    return {
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(_cpu_seconds() - cpu, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4, help="of anyhead-mini's 16")
    options = parser.parse_args()
    people.prepare()
    drawing = Drawing(options.size)
    seeds = list(ready.EVALUATION_ROLES)[: options.heads]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        mini = ready.EvaluationHeads(drawing)
        results = {
            f"{len(seeds)} heads of anyhead-mini": _timed(
                lambda: build(root, mini, seeds, workers=options.workers)
            ),
            "1 head with 2 accessories": _timed(
                lambda: build(root, AccessoryHeads(drawing), [ready.TRAINING_SEEDS[0]])
            ),
            "1 AI-generated head": _timed(
                lambda: build(root, AiGeneratedHeads(drawing), [ready.TRAINING_SEEDS_AI[0]])
            ),
            "verify": _timed(lambda: verify(root)),
        }
        size = sum(path.stat().st_size for path in root.rglob("*.png"))
        views = sum(1 for _ in root.rglob("*.png"))
    peak = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps(
            {
                "size_px": options.size,
                "workers": options.workers,
                "machine": platform.machine(),
                "processors": len(os.sched_getaffinity(0)),
                "load_before": os.getloadavg()[0],
                "seconds": results,
                "kilobytes_a_view": round(size / views / 1e3, 1),
                "peak_megabytes": round(max(usage.ru_maxrss for usage in peak) / 1024),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
