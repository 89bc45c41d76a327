"""Training speed on this machine, as JSON: samples a second, and where the time goes.

Each update runs in stages that are timed one by one: reading, the network, the rasterizer, LPIPS,
the optimizer with the average. A stage's time holds its share of the backward pass: gradients are
handed from stage to stage, which is the chain rule of the whole. The network's time is compared
with the least that its matrix products could take here: at the speed of one large product
(``network_share_of_matmul_peak``), and with each product alone, in its own shape and layout
(``network_share_of_bare_products``).
"""

import argparse
import json
import platform
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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

BARE_REPEATS = 15
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
    samples = HeadSamples(open_data([arguments.data], config, held_out=0).groups, config)
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
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    peak = matmul_flops_per_second(trainee.fabric.device, dtype)
    bare = bare_seconds(products_of(trainee, samples))
    return {
        "batch": config.batch,
        "precision": config.precision,
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
        "bare_products_seconds": bare,
        "network_share_of_bare_products": bare / medians["network"],
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
        batch = batch_from(samples, first, config.batch).to(device)
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
        # Under autocast Fabric wants every backward pass of the network to go through it, and it
        # takes a scalar: the one whose gradient is what came in.
        pairs = zip(outputs, incoming, strict=True)
        trainee.fabric.backward(torch.stack([(out * grad).sum() for out, grad in pairs]).sum())
    with on_clock("optimizer"):
        trainee.fabric.clip_gradients(trainee.network, trainee.optimizer, max_norm=config.clip_norm)
        trainee.optimizer.step()
        trainee.optimizer.zero_grad(set_to_none=True)
        trainee.average.update(trainee.network.module, 0.99)


def batch_from(samples: HeadSamples, first: int, count: int) -> TrainBatch:
    """Read the samples of one update."""
    read = [samples[first + i] for i in range(count)]
    return join([sample for sample in read if isinstance(sample, TrainBatch)])


# One matrix product: the name of the operation, size and strides of its two factors, precision.
Product = tuple[str, tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...], torch.dtype]


class Products(TorchDispatchMode):
    """Counts the matrix products that run within it, those inside attention too."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Note an operation and run it."""
        name = func._schema.name.removeprefix("aten::")
        if name in ("mm", "bmm"):
            self._add(name, args[0], args[1])
        elif name == "addmm":
            self._add("mm", args[1], args[2])
        elif name.startswith("_scaled_dot_product"):
            backward = name.endswith("_backward")
            q, k, v = (each.detach().flatten(0, -3) for each in args[backward : 3 + backward])
            weights = q.new_empty(len(q), q.shape[-2], k.shape[-2])
            products = [(q, k.mT), (weights, v)]
            if backward:  # by v, by the weights, by q, by k
                products = [(weights.mT, v), (q, v.mT), (weights, k), (weights.mT, q)]
            for a, b in products:
                self._add("bmm", a, b)
        result = func(*args, **(kwargs or {}))
        if name in ("convolution", "convolution_backward"):
            backward = name.endswith("_backward")
            out, weight = (args[0], args[2]) if backward else (result, args[1])
            # As the product of a matrix with a row for each pixel of the output.
            kernel = weight.detach().flatten(1).to("meta")
            pixels = torch.empty(out[:, 0].numel(), kernel.shape[1], device="meta")
            upstream = torch.empty(len(pixels), len(kernel), device="meta")
            products = [(pixels, kernel.mT)]
            if backward:  # by the input, by the weights
                products = [(upstream, kernel), (upstream.mT, pixels)]
            for a, b in products:
                self._add("mm", a, b)
        return result

    def _add(self, name: str, *factors: Tensor) -> None:
        sizes = tuple(tuple(factor.shape) for factor in factors)
        strides = tuple(factor.stride() for factor in factors)
        self.counts[name, sizes, strides, factors[0].dtype] += 1


def products_of(trainee: Trainee, samples: HeadSamples) -> Counter[Product]:
    """Count the products of the network in one update, forward and backward."""
    config = trainee.config
    batch = batch_from(samples, 0, config.batch).to(trainee.fabric.device)
    with Products() as products:
        prediction = predict(trainee.network, trainee.model, batch, config)
        values = [*prediction.gaussians.tensors().values()]
        if prediction.images is not None:
            values.append(prediction.images)
        trainee.fabric.backward(torch.stack([value.mean() for value in values]).sum())
    trainee.optimizer.zero_grad(set_to_none=True)
    return products.counts


def bare_seconds(products: Counter[Product]) -> float:
    """Return the sum over products of the median time that each takes alone."""
    total = 0.0
    for (name, sizes, strides, dtype), count in products.items():
        factors = [
            torch.empty_strided(size, stride, dtype=dtype).normal_()
            for size, stride in zip(sizes, strides, strict=True)
        ]
        product = getattr(torch, name)
        took = []
        for _ in range(BARE_REPEATS):
            started = time.perf_counter()
            product(*factors)
            took.append(time.perf_counter() - started)
        total += count * statistics.median(took)
    return total


def leaf(tensor: Tensor) -> Tensor:
    """Return the values as the beginning of a graph of their own."""
    return tensor.detach().requires_grad_()


def gradients(*leaves: Tensor) -> list[Tensor]:
    """Return what reached the leaves; nothing is zeros."""
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]


def matmul_flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Return the speed of one large product: the best of a few."""
    a, b = torch.rand(2, 1024, 1024, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        product = a @ b
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best


if __name__ == "__main__":
    main()
