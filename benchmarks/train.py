"""Training speed on this machine, as JSON: samples a second, and where the time goes.

Each update runs in stages that are timed one by one: reading, the network, the rasterizer, LPIPS,
the optimizer with the average. A stage's time holds its share of the backward pass: gradients are
handed from stage to stage, which is the chain rule of the whole. The network's matrix products are
also compared with the speed of one large product on this machine.
"""

import argparse
import json
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from any3davatar.core import Gaussians, Views
from any3davatar.model import Prediction
from any3davatar.model.scaffold import placeholder_hull
from any3davatar.model.table import cost_of
from any3davatar.render import render
from any3davatar.train.config import TRAIN_PRESETS, Machine, override
from any3davatar.train.loop import Trainee, make_fabric, make_trainee
from any3davatar.train.losses import loss_terms, total
from any3davatar.train.network import predict
from any3davatar.train.run_folder import open_data
from any3davatar.train.samples import HeadSamples, TrainBatch, join

STAGES = ("data", "network", "rasterizer", "losses", "optimizer")


def main() -> None:
    """Measure what the arguments ask for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="root of an AnyHead data set")
    parser.add_argument("--preset", choices=list(TRAIN_PRESETS), default="mini")
    parser.add_argument("--set", action="append", default=[], help="field=value of the run")
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="torch.compile the DiT")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = override(TRAIN_PRESETS[arguments.preset], arguments.set)
    samples = HeadSamples(open_data(arguments.data, config, held_out=0).groups, config)
    machine = Machine(compile=arguments.compile)
    hull = placeholder_hull(config.model) if config.model.hull_start else None
    trainee = make_trainee(config, machine, make_fabric(config, machine), hull)
    print(json.dumps(measure(trainee, samples, arguments.updates), indent=1))


def measure(trainee: Trainee, samples: HeadSamples, updates: int) -> dict[str, object]:
    """Return medians over some updates, after two that warm up."""
    config = trainee.config
    seconds: dict[str, list[float]] = defaultdict(list)
    cpu_seconds: dict[str, list[float]] = defaultdict(list)
    for k in range(2 + updates):
        spent: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        staged_update(trainee, samples, k * config.batch, spent)
        if k > 1:
            for stage in STAGES:
                seconds[stage].append(spent[stage][0])
                cpu_seconds[stage].append(spent[stage][1])
    medians = {stage: statistics.median(seconds[stage]) for stage in STAGES}
    cpu = {stage: statistics.median(cpu_seconds[stage]) for stage in STAGES}
    # Forward, and twice that backward.
    cost = cost_of(config.model)
    flops = 3 * config.batch * (cost.forward_flops + config.avas * cost.image_head_flops)
    peak = matmul_flops_per_second(trainee.fabric.device)
    return {
        "batch": config.batch,
        "size_px": config.model.size_px,
        "views_per_sample": config.views_per_sample,
        "updates": updates,
        "samples_per_second": config.batch / sum(medians.values()),
        "samples_per_cpu_second": config.batch / sum(cpu.values()),  # what a busy machine spares
        "seconds_per_update": medians,
        "cpu_seconds_per_update": cpu,
        "share": {stage: cpu[stage] / sum(cpu.values()) for stage in STAGES},
        "network_gflops_per_second": flops / medians["network"] / 1e9,
        "matmul_gflops_per_second": peak / 1e9,
        "network_share_of_matmul_peak": flops / medians["network"] / peak,
        "device": str(trainee.fabric.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def staged_update(
    trainee: Trainee, samples: HeadSamples, first: int, spent: dict[str, tuple[float, float]]
) -> None:
    """Change the weights once, each stage on the clock."""
    config, device = trainee.config, trainee.fabric.device

    @contextmanager
    def on_clock(stage: str) -> Iterator[None]:
        started, started_cpu = time.perf_counter(), time.process_time()
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        wall, cpu = spent[stage]
        spent[stage] = (
            wall + time.perf_counter() - started,
            cpu + time.process_time() - started_cpu,
        )

    with on_clock("data"):
        read = [samples[first + i] for i in range(config.batch)]
        batch = join([sample for sample in read if isinstance(sample, TrainBatch)]).to(device)
    with on_clock("network"):
        prediction = predict(trainee.network, trainee.model, batch, config)
    tensors = prediction.gaussians.tensors()
    handed = Gaussians(**{name: leaf(tensor) for name, tensor in tensors.items()})
    with on_clock("rasterizer"):
        background = batch.portrait.new_tensor(config.background)
        rendered = render(handed, batch.target_cameras, background)
    views = Views(leaf(rendered.rgb), leaf(rendered.alpha))
    images = None if prediction.images is None else leaf(prediction.images)
    with on_clock("losses"):
        shown = Prediction(handed, images)
        loss = total(loss_terms(shown, views, batch, config, trainee.perceptual), config).mean()
        loss.backward()
    with on_clock("rasterizer"):
        torch.autograd.backward([rendered.rgb, rendered.alpha], gradients(views.rgb, views.alpha))
    with on_clock("network"):
        handed_tensors = handed.tensors()
        outputs = list(tensors.values())
        incoming = gradients(*(handed_tensors[name] for name in tensors))
        if prediction.images is not None and images is not None:
            outputs.append(prediction.images)
            incoming += gradients(images)
        torch.autograd.backward(outputs, incoming)
    with on_clock("optimizer"):
        trainee.fabric.clip_gradients(trainee.network, trainee.optimizer, max_norm=config.clip_norm)
        trainee.optimizer.step()
        trainee.optimizer.zero_grad(set_to_none=True)
        trainee.average.update(trainee.network.module, 0.99)


def leaf(tensor: Tensor) -> Tensor:
    """Return the values as the beginning of a graph of their own."""
    return tensor.detach().requires_grad_()


def gradients(*leaves: Tensor) -> list[Tensor]:
    """Return what reached the leaves; nothing is zeros."""
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]


def matmul_flops_per_second(device: torch.device) -> float:
    """Return the speed of one large float32 product: the best of a few."""
    a, b = torch.rand(2, 1024, 1024, device=device)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        product = a @ b
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best


if __name__ == "__main__":
    main()
