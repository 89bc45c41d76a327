"""What a run will cost, from a few updates of the real thing on the real data."""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.model import Any3DAvatar
from any3davatar.model.scaffold import placeholder_hull
from any3davatar.train.batches import shares
from any3davatar.train.config import Machine, TrainConfig
from any3davatar.train.hull import evenly
from any3davatar.train.loop import (
    beginning,
    make_fabric,
    make_trainee,
    starting_groups,
    starting_hull,
    update,
)
from any3davatar.train.samples import HeadSamples

MEASURED_UPDATES = 3
MEASURED_GROUPS = (2, 6)  # of the mean head, twice: what a group takes, and what is there anyway
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """What is known before a run.

    Attributes:
        groups: to learn from.
        samples: of the whole run.
        updates: of the weights.
        epochs: visits of each group.
        processes: that share an update.
        parameters: trained numbers, `D_vae` included where it is trained.
        checkpoint_bytes: size of a checkpoint: weights, average, and two moments.
        seconds_per_update: median of a few, after one that warms up.
        start_seconds: estimate for the mean head and its ways, before the first update; 0 where the
            network needs none or begins with weights that have one.
        hours: the start, then `updates` at that speed; pictures and checkpoints come on top.
        peak_memory_bytes: of one process: on a GPU what tensors took there, else its whole size.
    """

    groups: int
    samples: int
    updates: int
    epochs: float
    processes: int
    parameters: int
    checkpoint_bytes: int
    seconds_per_update: float
    start_seconds: float
    hours: float
    peak_memory_bytes: int


def make_plan(
    config: TrainConfig,
    machine: Machine,
    groups: Sequence[GroupEntry],
    *,
    start_from: Path | None = None,
) -> Plan:
    """Measure a few updates and forget them; nothing is written.

    Raises:
        What the run itself would raise about its data and configuration.
    """
    fabric = make_fabric(config, machine)
    fabric.launch()
    micro_batch = machine.micro_batch_of(config.batch, fabric.world_size)
    hull = placeholder_hull(config.model) if config.model.hull_start else None
    start = beginning(config, start_from)
    trainee = make_trainee(config, machine, fabric, hull)
    samples = HeadSamples(groups, config)
    coming = shares(
        samples,
        first=0,
        micro_batch=micro_batch,
        rank=fabric.global_rank,
        processes=fabric.world_size,
        workers=machine.workers,
    )
    seconds: list[float] = []
    for k, share in zip(range(1 + MEASURED_UPDATES), coming, strict=False):
        started = time.perf_counter()
        update(trainee, share, k * config.batch, samples.id_of)
        seconds.append(time.perf_counter() - started)
    measured = sorted(seconds[1:] or seconds)
    median = measured[len(measured) // 2]
    updates = config.total_samples // config.batch
    start_seconds = _start_seconds(config, groups, fabric, start)
    parameters = sum(p.numel() for p in trainee.model.parameters())
    return Plan(
        groups=len(groups),
        samples=config.total_samples,
        updates=updates,
        epochs=config.total_samples / len(groups),
        processes=fabric.world_size,
        parameters=parameters,
        checkpoint_bytes=16 * parameters,
        seconds_per_update=median,
        start_seconds=start_seconds,
        hours=(start_seconds + updates * median) / 3600,
        peak_memory_bytes=_peak_memory_bytes(fabric.device),
    )


def _start_seconds(
    config: TrainConfig, groups: Sequence[GroupEntry], fabric: Fabric, start: Any3DAvatar | None
) -> float:
    """Return what the mean head of all groups would take, by those of few of them."""
    if starting_groups(config, len(groups)) == 0:
        return 0.0
    took, looks = [], []
    for count in MEASURED_GROUPS:
        some = evenly(groups, count)
        started = time.perf_counter()
        starting_hull(config, fabric, some, start)
        took.append(time.perf_counter() - started)
        looks.append(starting_groups(config, len(some)))
    if looks[0] == looks[1]:  # so few groups that there is no more to come
        return took[1]
    each = max(took[1] - took[0], 0.0) / (looks[1] - looks[0])
    return took[1] + each * (starting_groups(config, len(groups)) - looks[1])


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def written_out(plan: Plan) -> str:
    """Return the plan as lines to read."""
    rows = {
        "groups": f"{plan.groups:,}",
        "samples": f"{plan.samples:,} in {plan.updates:,} updates ({plan.epochs:,.1f} epochs)",
        "processes": f"{plan.processes}",
        "parameters": f"{plan.parameters / 1e6:,.1f} M",
        "checkpoint": f"{plan.checkpoint_bytes / GIB:,.2f} GiB each",
        "speed": f"{plan.seconds_per_update:,.3f} s an update, "
        f"{plan.samples / plan.updates / plan.seconds_per_update:,.2f} samples/s",
        "start": f"{plan.start_seconds / 60:,.1f} min for the mean head and its ways",
        "time": f"{plan.hours:,.1f} h, pictures and checkpoints not counted",
        "memory": f"{plan.peak_memory_bytes / GIB:,.2f} GiB at most so far, a process",
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
