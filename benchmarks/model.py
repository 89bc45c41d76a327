"""Seconds and memory of the network on this machine's CPU, as JSON.

``--preset mini`` gives medians of a visit, of a training visit (forward and backward, with `D_vae`,
without rendering and losses), and of inference of one head. ``--preset full --once`` visits the
full network a single time and reports the peak memory of the process.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable

import torch

from any3davatar.model import PRESETS, Any3DAvatar
from any3davatar.model.scaffold import placeholder_hull
from any3davatar.sampling import one_step


def main() -> None:
    """Measure what the arguments ask for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=list(PRESETS), default="mini")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--once", action="store_true", help="a single inference, no training")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    measured = (
        measure_once(arguments.preset)
        if arguments.once
        else measure(arguments.preset, arguments.batch, arguments.repeats)
    )
    about = {
        "preset": arguments.preset,
        "threads": arguments.threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(about | measured, indent=1))


def measure(preset: str, batch: int, repeats: int) -> dict[str, float]:
    """Return median seconds over the repeats, after one that warms up."""
    model = build(preset, image_head=True)
    portrait, rays, state, t = arguments_of(model, batch)

    def forward(decode_images: bool) -> torch.Tensor:
        prediction = model(portrait, rays, state, t, decode_images=decode_images)
        loss = torch.stack([x.square().mean() for x in prediction.gaussians.tensors().values()])
        return loss.sum() + (prediction.images.square().mean() if decode_images else 0)

    def train(decode_images: bool) -> None:
        model.zero_grad()
        forward(decode_images).backward()

    def infer() -> None:
        one_step(model, portrait[:1], rays[:1], generator=torch.Generator().manual_seed(0))

    return {
        "batch": batch,
        "repeats": repeats,
        "forward_seconds": median(lambda: forward(decode_images=False), repeats),
        "forward_backward_seconds": median(lambda: train(decode_images=False), repeats),
        "forward_backward_with_image_head_seconds": median(
            lambda: train(decode_images=True), repeats
        ),
        "inference_seconds_per_head": median(infer, repeats),
    }


def measure_once(preset: str) -> dict[str, float]:
    """Return seconds of one inference and the peak memory of the process."""
    started = time.perf_counter()
    model = build(preset, image_head=False)
    build_seconds = time.perf_counter() - started
    portrait, rays, _, _ = arguments_of(model, batch=1)
    started, started_cpu = time.perf_counter(), time.process_time()
    gaussians = one_step(model, portrait, rays, generator=torch.Generator().manual_seed(0))
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - started_cpu
    gaussians.validate()
    return {
        "build_seconds": build_seconds,
        "inference_seconds_per_head": seconds,
        "inference_cpu_seconds_per_head": cpu_seconds,  # all threads: what a busy machine spares
        "gaussians": gaussians.count,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def build(preset: str, *, image_head: bool) -> Any3DAvatar:
    """Return a network with fresh weights: what it costs does not depend on what it knows."""
    config = PRESETS[preset]
    hull = placeholder_hull(config) if config.hull_start else None
    return Any3DAvatar(config, image_head=image_head, hull=hull)


def arguments_of(model: Any3DAvatar, batch: int) -> tuple[torch.Tensor, ...]:
    """Return random portraits from the front camera, their rays, noise and t = 0."""
    size, generator = model.config.size_px, torch.Generator().manual_seed(0)
    portrait = torch.rand(batch, model.config.portrait_channels, size, size, generator=generator)
    rays = model.canonical.plucker()[:1].expand(batch, -1, -1, -1)
    return portrait, rays, model.start_state(batch, generator), torch.zeros(batch)


def median(run: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call."""
    run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
