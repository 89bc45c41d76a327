"""The training loop: samples -> prediction -> views -> Eq. 6 -> one update, until done.

It runs through Lightning Fabric, so that one process on a CPU, one GPU, and ``torchrun`` with many
are the same code. With the same ``batch``, any number of processes sees the same samples, noise and
times in an update; only the order of floating-point sums differs.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.readers import GroupEntry
from any3davatar.model import Any3DAvatar, Hull, Prediction, load_weights, save_weights
from any3davatar.model.checkpoint import check_config
from any3davatar.model.scaffold import hull_of, placeholder_hull
from any3davatar.model.start import seen_from_front
from any3davatar.registry_files import sha256_of
from any3davatar.render import render
from any3davatar.train import checkpoint as checkpoints
from any3davatar.train.batches import Share, shares
from any3davatar.train.config import Machine, TrainConfig, differences, to_json
from any3davatar.train.ema import WeightAverage
from any3davatar.train.hull import mean_hull
from any3davatar.train.log import RunLog
from any3davatar.train.losses import (
    TrainingDiverged,
    check_finite_terms,
    loss_terms,
    term_names,
    total,
)
from any3davatar.train.network import TrainingNetwork, predict
from any3davatar.train.optim import make_optimizer, matrices_of, set_learning_rate
from any3davatar.train.perceptual import Perceptual, load_perceptual
from any3davatar.train.pictures import (
    HeldOut,
    predicted_views,
    psnr_db,
    read_held_out,
    sheet,
)
from any3davatar.train.samples import HeadSamples, Skipped, TrainBatch
from any3davatar.train.schedule import ema_decay, learning_rate
from any3davatar.train.ways import with_ways

WEIGHTS = "weights.safetensors"  # the average, when the run is done


@dataclass(frozen=True, eq=False)
class Trainee:
    """What learns, and what it takes.

    Attributes:
        config: the run.
        fabric: the processes.
        network: the `TrainingNetwork`, wrapped for them.
        model: the network inside.
        optimizer: wrapped too.
        average: of the weights.
        perceptual: LPIPS, where its weight is above 0.
    """

    config: TrainConfig
    fabric: Fabric
    network: Any
    model: Any3DAvatar
    optimizer: Any
    average: WeightAverage
    perceptual: Perceptual | None

    @property
    def inside(self) -> nn.Module:
        """The network as the strategy holds it, which state dictionaries are made from."""
        return self.network._forward_module


@dataclass(frozen=True, eq=False)
class Update:
    """What one update measured.

    Attributes:
        terms: sum over the samples of each loss term, and of their weighted ``loss``, all
            processes together.
        count: samples that counted.
        gradient_norm: before clipping.
    """

    terms: dict[str, float]
    count: int
    gradient_norm: float


def make_fabric(config: TrainConfig, machine: Machine) -> Fabric:
    """Return the processes; under ``torchrun`` their number is torchrun's."""
    devices, nodes, strategy = machine.devices, machine.nodes, machine.strategy
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["GROUP_WORLD_SIZE"])
    if strategy == "auto" and devices * nodes > 1:
        strategy = "ddp"
    made = {"ddp": _ddp, "fsdp": _fsdp}
    return Fabric(
        accelerator=machine.accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=made[strategy]() if strategy in made else strategy,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
    )


def _ddp() -> Any:
    from lightning_fabric.strategies.ddp import DDPStrategy

    # Buffers are the scaffold's, the same everywhere: no update changes them. From 2.14 on torch
    # has another name for leaving them alone, and warns of the old one.
    known = signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    unsynced: dict[str, Any] = {name: False}
    return DDPStrategy(**unsynced)


def _fsdp() -> Any:
    from lightning_fabric.strategies.fsdp import FSDPStrategy

    from any3davatar.model.dit import DiTBlock

    return FSDPStrategy(auto_wrap_policy={DiTBlock})


def make_trainee(
    config: TrainConfig,
    machine: Machine,
    fabric: Fabric,
    hull: Hull | None,
    start: Any3DAvatar | None = None,
) -> Trainee:
    """Build everything that learns, with initial weights.

    Args:
        config: the run.
        machine: how to carry it out.
        fabric: the processes.
        hull: the mean head, where the network starts at one.
        start: a network whose weights to begin with; its mean head too, unless the run computes one
            (``hull``). Its `D_vae` is not asked for.
    """
    model = Any3DAvatar(
        config.model,
        image_head=config.avas,
        hull=hull,
        seed=config.seed,
        recompute_activations=machine.recompute_activations,
    )
    if start is not None:
        _go_on_from(start, model, config)
    if machine.compile:
        model.dit.compile()
    bare = TrainingNetwork(model, config)
    matrices = matrices_of(bare)
    network = fabric.setup_module(bare)
    optimizer = fabric.setup_optimizers(make_optimizer(network.module, config, matrices))
    perceptual = None
    if config.lpips_weight > 0:
        perceptual = load_perceptual(config.model.size_px).to(fabric.device)
    average = WeightAverage(network.module)
    return Trainee(config, fabric, network, model, optimizer, average, perceptual)


def update(trainee: Trainee, share: Share, samples: int, id_of: Callable[[int], str]) -> Update:
    """Change the weights once.

    Args:
        trainee: what learns.
        share: this process's samples.
        samples: samples seen before.
        id_of: what to call a sample, for messages.

    Raises:
        TrainingDiverged: a loss term or the gradient is not finite; the weights are as before.
        DataError: not one sample of the update could be read.
    """
    config, fabric = trainee.config, trainee.fabric
    present = sum(float(micro.present.sum()) for micro in share.micro_batches)
    count = int(_over_processes(fabric, torch.tensor([present]))[0])
    if count == 0:
        raise DataError(
            f"no sample of the update after {samples} could be read; the last reason: "
            f"{share.skipped[-1].reason if share.skipped else 'another process has it'}"
        )
    set_learning_rate(trainee.optimizer.optimizer, learning_rate(config, samples))
    # Named beforehand: a process whose samples were all left out adds zeros to the same sums.
    sums = {name: torch.zeros(()) for name in (*term_names(config), "loss")}
    for i, micro in enumerate(share.micro_batches):
        waits = i + 1 < len(share.micro_batches)
        with fabric.no_backward_sync(trainee.network, enabled=waits):
            terms, loss = losses_of(trainee, micro.to(fabric.device), samples, id_of)
            # DDP and FSDP average gradients over the processes: their number undoes it.
            fabric.backward(loss * (fabric.world_size / count))
        for name, value in terms.items():
            sums[name] = sums[name] + value.detach().cpu()
    norm = trainee.fabric.clip_gradients(
        trainee.network, trainee.optimizer, max_norm=config.clip_norm, error_if_nonfinite=False
    )
    assert norm is not None
    if not bool(torch.isfinite(norm)):
        numbers = [n for micro in share.micro_batches for n in micro.numbers.tolist()]
        who = ", ".join(f"{id_of(n)} (sample {n})" for n in numbers)
        raise TrainingDiverged(
            f"the gradient is not finite after {samples} samples, in an update with {who}; nothing "
            "of this update was kept. Lower learning_rate, or go on from an earlier checkpoint"
        )
    trainee.optimizer.step()
    trainee.optimizer.zero_grad(set_to_none=True)
    trainee.average.update(trainee.network.module, ema_decay(config, samples + config.batch))
    together = _over_processes(fabric, torch.stack(list(sums.values())))
    return Update(dict(zip(sums, together.tolist(), strict=True)), count, float(norm))


def losses_of(
    trainee: Trainee, micro: TrainBatch, samples: int, id_of: Callable[[int], str]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the sum over a micro-batch of each term and of ``loss``, and ``loss`` with gradients.

    Samples that were left out go through the network too, so that all processes do the same, and
    are dropped from what it says.
    """
    config = trainee.config
    prediction = predict(trainee.network, trainee.model, micro, config)
    kept = micro.present.nonzero()[:, 0]
    if len(kept) == 0:
        nothing = [tensor.sum() * 0 for tensor in prediction.gaussians.tensors().values()]
        nothing += [] if prediction.images is None else [prediction.images.sum() * 0]
        return {}, torch.stack(nothing).sum()
    if len(kept) < len(micro.present):
        micro, prediction = _only(micro, prediction, kept)
    names = [f"{id_of(n)} (sample {n})" for n in micro.numbers.tolist()]
    # A render refuses such Gaussians too, but does not know whose they are.
    largest = {
        f"Gaussians.{name}": tensor.detach().flatten(1).abs().amax(1)
        for name, tensor in prediction.gaussians.tensors().items()
    }
    check_finite_terms(largest, micro.present, names, samples)
    background = micro.portrait.new_tensor(config.background)
    rendered = render(prediction.gaussians, micro.target_cameras, background)
    terms = loss_terms(prediction, rendered, micro, config, trainee.perceptual)
    check_finite_terms(terms, micro.present, names, samples)
    loss = total(terms, config).sum()
    return {name: term.sum() for name, term in terms.items()} | {"loss": loss}, loss


def _only(micro: TrainBatch, prediction: Prediction, kept: Tensor) -> tuple[TrainBatch, Prediction]:
    tensors = {name: getattr(micro, name)[kept] for name in micro.__dataclass_fields__}
    images = None if prediction.images is None else prediction.images[kept]
    return TrainBatch(**tensors), Prediction(prediction.gaussians[kept], images)


def _over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the sum over all processes."""
    if fabric.world_size == 1:
        return values
    total = fabric.all_reduce(values.to(fabric.device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total.cpu()


def _everywhere(fabric: Fabric, share: Share) -> tuple[Skipped, ...]:
    """Return what all processes left out of an update."""
    if fabric.world_size == 1:
        return share.skipped
    parts: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, share.skipped)
    return tuple(skipped for part in parts for skipped in part)


def starting_hull(
    config: TrainConfig,
    fabric: Fabric,
    groups: Sequence[GroupEntry],
    start: Any3DAvatar | None = None,
    on_group: Callable[[], None] | None = None,
) -> Hull | None:
    """Return the mean head that a run begins with if the network needs one; one process computes.

    It is the training set's, or that of the weights to begin with, whose ways may go on.
    """
    if not config.model.hull_start:
        return None
    if start is not None and not config.new_head:
        hull, follows = hull_of(start.scaffold, start.config), config.ways_groups_before > 0
    else:
        hull, follows = None, config.model.hull_ways > 0
    if fabric.is_global_zero:
        hull = mean_hull(groups, config, on_group) if hull is None else hull
        if follows:
            hull = with_ways(hull, groups, config, on_group)
    return fabric.broadcast(hull)


def starting_groups(config: TrainConfig, groups: int) -> int:
    """Return how many groups `starting_hull` looks at, each time it looks at one."""
    keeps = config.start_sha256 != "" and not config.new_head
    if not config.model.hull_start or (keeps and config.ways_groups_before == 0):
        return 0
    ways = min(config.ways_groups, groups) if config.model.hull_ways else 0
    return ways if keeps else min(config.hull_groups, groups) + ways


def train(
    folder: Path,
    config: TrainConfig,
    machine: Machine,
    groups: Sequence[GroupEntry],
    held_out: Sequence[GroupEntry],
    data_digest: str,
    *,
    start_from: Path | None = None,
    on_start_group: Callable[[], None] | None = None,
    on_update: Callable[[], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> int:
    """Train from the newest checkpoint of a folder, or from the beginning, to the end.

    Args:
        folder: the run's folder; it exists.
        config: the run; the folder's checkpoints must belong to it.
        machine: how to carry it out.
        groups: what to learn from.
        held_out: what to draw now and then, never learned from.
        data_digest: of the data; a run does not go on with other data than it began with.
        start_from: file of weights to begin with, whose SHA-256 is `config.start_sha256`; a run
            that goes on does not read it.
        on_start_group: called after each group that the mean head is computed from, where it is.
        on_update: called after each update.
        should_stop: asked after each update; if so, a checkpoint is written and the run pauses.

    Returns:
        The number of samples seen: `config.total_samples`, less what does not fill an update, or
        fewer where it was asked to stop.

    Raises:
        TrainingDiverged, DataError, CheckpointError: see `update` and `checkpoint.read`.
    """
    fabric = make_fabric(config, machine)
    fabric.launch()
    micro_batch = machine.micro_batch_of(config.batch, fabric.world_size)
    found = checkpoints.found_in(folder)
    stored = checkpoints.read(found[-1]) if found else None
    if stored is not None:
        _check_same(stored, config, data_digest)
    start = beginning(config, start_from) if stored is None else None
    hull = (
        _known_hull(config)
        if stored is not None
        else starting_hull(config, fabric, groups, start, on_start_group)
    )
    trainee = make_trainee(config, machine, fabric, hull, start)
    samples = 0
    if stored is not None:
        checkpoints.restore(stored, trainee.inside, trainee.optimizer.optimizer, trainee.average)
        samples = stored.samples
    data = HeadSamples(groups, config)
    looked_at = read_held_out(held_out, config, fabric.device) if held_out else None
    log = (
        RunLog(folder, samples, tensorboard=machine.tensorboard) if fabric.is_global_zero else None
    )
    if log is not None:
        log.line(samples, "start", _circumstances(trainee, machine, len(groups)))

    updates = shares(
        data,
        first=samples,
        micro_batch=micro_batch,
        rank=fabric.global_rank,
        processes=fabric.world_size,
        workers=machine.workers,
    )
    window, last = _Window(), True
    for share in updates:
        done = update(trainee, share, samples, data.id_of)
        before, samples = samples, samples + config.batch
        window.add(done)
        last = samples + config.batch > config.total_samples
        stop = last or _agreed(fabric, should_stop)
        due = partial(_due, before=before, samples=samples, stop=stop)
        skipped_anywhere = _everywhere(fabric, share) if done.count < config.batch else ()
        if log is not None:
            for skipped in skipped_anywhere:
                log.line(
                    samples, "skipped",
                    {"sample": skipped.number, "id": skipped.id, "reason": skipped.reason},
                )  # fmt: skip
            if due(machine.log_samples):
                log.line(samples, "train", window.summary(learning_rate(config, before)))
        if due(machine.log_samples):
            window = _Window()
        if looked_at is not None and due(machine.picture_samples):
            _draw(trainee, looked_at, samples, log)
        if due(machine.checkpoint_samples):
            kept = _keep(trainee, folder, samples, data_digest, machine, log)
            if kept is not None and due(machine.milestone_samples, stop=False):
                name = f"weights-{samples:010d}.safetensors"
                save_weights(folder / name, checkpoints.trained_model(kept))
        if on_update is not None:
            on_update()
        if stop:
            break
    if log is not None:
        if last:
            # From the file: a run that was killed right after its last checkpoint ends here too.
            final = checkpoints.read(checkpoints.found_in(folder)[-1])
            save_weights(folder / WEIGHTS, checkpoints.trained_model(final))
        log.line(samples, "end" if last else "pause", {})
        log.close()
    return samples


def _due(every: int, *, before: int, samples: int, stop: bool) -> bool:
    """Tell whether something that happens every so many samples is due after an update."""
    return every > 0 and (stop or samples // every > before // every)


class _Window:
    """Means over the updates between two lines of the log."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._updates: list[Update] = []

    def add(self, done: Update) -> None:
        self._updates.append(done)

    def summary(self, rate: float) -> dict[str, float]:
        count = sum(done.count for done in self._updates)
        names = sorted({name for done in self._updates for name in done.terms})
        means = {
            name: sum(done.terms.get(name, 0.0) for done in self._updates) / count for name in names
        }
        seconds = time.perf_counter() - self._started
        norms = [done.gradient_norm for done in self._updates]
        return means | {
            "gradient_norm": sum(norms) / len(norms),
            "learning_rate": rate,
            "samples_per_second": count / seconds,
        }


def beginning(config: TrainConfig, path: Path | None) -> Any3DAvatar | None:
    """Return the network that a run begins with, if it begins with one.

    Raises:
        CheckpointError: it is not the file that the run is configured for, or does not fit it.
    """
    found = "" if path is None else sha256_of(path)
    if found != config.start_sha256:
        raise checkpoints.CheckpointError(
            f"the run begins with weights of SHA-256 {config.start_sha256[:16] or '(none)'}; got "
            f"{path} of {found[:16] or '(none)'}: give the file with --start-from"
        )
    if path is None:
        return None
    start = load_weights(path)
    theirs, expected = start.config, config.model
    if config.new_head and theirs.hull_ways > 0 and expected.hull_ways > 0:
        # How the head follows a portrait is not learned by gradients: no weight has another shape.
        expected = replace(expected, hull_ways=theirs.hull_ways, hull_waves=theirs.hull_waves)
    # Blocks that a network lacks follow its own and start shut: it begins as what it is.
    expected = replace(expected, blocks=min(theirs.blocks, expected.blocks))
    check_config(path, theirs, expected)
    return start


def _go_on_from(start: Any3DAvatar, model: Any3DAvatar, config: TrainConfig) -> None:
    """Give a network the weights of another; of the head, what the run does not compute."""
    keeps_head = not (config.new_head or config.ways_groups_before)
    further = range(start.config.blocks, model.config.blocks)
    built_here = ("image_decoder.", *(f"dit.blocks.{i}." for i in further))
    if not keeps_head:
        built_here += ("scaffold.",)
    learned = start.state_dict() if keeps_head else dict(start.named_parameters())
    palette = model.palette if model.config.color_skip and config.new_head else None
    fresh = None if palette is None else palette.mixture.detach().clone()
    lacking = model.load_state_dict(learned, strict=False).missing_keys
    assert all(name.startswith(built_here) for name in lacking)
    if palette is not None and fresh is not None:
        # What the portrait sees of another mean head is something else.
        seen = seen_from_front(model.scaffold)
        with torch.no_grad():
            palette.mixture[seen] = fresh[seen]


def _known_hull(config: TrainConfig) -> Hull | None:
    """Return a hull for a network whose own is in its weights."""
    return placeholder_hull(config.model) if config.model.hull_start else None


def _check_same(stored: checkpoints.Checkpoint, config: TrainConfig, data_digest: str) -> None:
    changed = differences(stored.config, config)
    if changed:
        raise checkpoints.CheckpointError(
            f"the run's checkpoint belongs to another configuration ({'; '.join(changed)}); train "
            "with the same, or in another folder"
        )
    if stored.data_digest != data_digest:
        raise checkpoints.CheckpointError(
            f"the run began with other data (digest {stored.data_digest[:16]}, now "
            f"{data_digest[:16]}); give it the same, or train in another folder"
        )


def _agreed(fabric: Fabric, should_stop: Callable[[], bool] | None) -> bool:
    """Tell whether any process was asked to stop: all stop after the same update, or none."""
    if should_stop is None:
        return False
    return float(_over_processes(fabric, torch.tensor([float(should_stop())]))[0]) > 0


def _draw(trainee: Trainee, held_out: HeldOut, samples: int, log: RunLog | None) -> None:
    with trainee.average.inside(trainee.network.module):
        ours = predicted_views(trainee.network, trainee.model, held_out, trainee.config)
    if log is not None:
        quality = psnr_db(ours, held_out.truth)
        log.picture(samples, sheet(held_out, ours).cpu())
        log.line(samples, "held_out", {"psnr_db": float(quality.mean())})


def _keep(
    trainee: Trainee,
    folder: Path,
    samples: int,
    data_digest: str,
    machine: Machine,
    log: RunLog | None,
) -> checkpoints.Checkpoint | None:
    """Write a checkpoint; return it in the first process."""
    tensors = checkpoints.gather(trainee.inside, trainee.optimizer.optimizer, trainee.average)
    if log is not None:
        kept = checkpoints.Checkpoint(samples, trainee.config, data_digest, tensors)
        path = checkpoints.write(folder, kept, keep=machine.keep_checkpoints)
        log.line(samples, "checkpoint", {"file": path.name})
        return kept
    return None


def _circumstances(trainee: Trainee, machine: Machine, groups: int) -> dict[str, Any]:
    return {
        "groups": groups,
        "parameters": sum(p.numel() for p in trainee.model.parameters()),
        "processes": trainee.fabric.world_size,
        "device": str(trainee.fabric.device),
        "threads": torch.get_num_threads(),
        "machine": to_json(machine),
        "any3davatar": version("any3davatar"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
