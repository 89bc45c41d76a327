"""``any3davatar train``: a run is opened or gone on with, planned or carried out."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from any3davatar.commands.inputs import UsageError, console, progress_bars
from any3davatar.registry_files import sha256_of
from any3davatar.train.checkpoint import found_in
from any3davatar.train.config import TRAIN_PRESETS, Machine, TrainConfig, override
from any3davatar.train.loop import starting_groups, train
from any3davatar.train.plan import make_plan, written_out
from any3davatar.train.run_folder import CONFIG, RunData, check_config, open_data, write_config


@dataclass(frozen=True)
class TrainJob:
    """What `run` does.

    Attributes:
        out: the run's folder, created if needed.
        data: roots of AnyHead data sets.
        preset: a key of `TRAIN_PRESETS`.
        settings: ``field=value`` of `TrainConfig`; ``model.field=value`` of its network.
        machine_settings: ``field=value`` of `Machine`.
        start_from: file of weights to begin with.
        epochs: sets ``total_samples`` to this many visits of each group.
        resume: go on with the run in `out`; otherwise it must be empty.
        dry_run: measure and tell, write nothing.
    """

    out: Path
    data: tuple[Path, ...]
    preset: str
    settings: tuple[str, ...] = ()
    machine_settings: tuple[str, ...] = ()
    start_from: Path | None = None
    epochs: float | None = None
    resume: bool = True
    dry_run: bool = False


def run(job: TrainJob) -> int:
    """Train, or tell what it would take; return 0, or raise what a stage raises."""
    if job.preset not in TRAIN_PRESETS:
        raise UsageError(f"unknown preset {job.preset!r}; known: {', '.join(TRAIN_PRESETS)}")
    machine = override(Machine(), job.machine_settings)
    start = "" if job.start_from is None else sha256_of(job.start_from)
    config = override(replace(TRAIN_PRESETS[job.preset], start_sha256=start), job.settings)
    data = open_data(job.data, config, machine.held_out)
    if job.epochs is not None:
        config = replace(config, total_samples=round(job.epochs * len(data.groups)))
    if job.dry_run:
        plan = make_plan(config, machine, data.groups, start_from=job.start_from)
        if _is_first_process():
            typer.echo(written_out(plan))
        return 0
    if _is_first_process():
        _open_folder(job, config, data)
    updates = config.total_samples // config.batch
    starts = starting_groups(config, len(data.groups))
    bars = _progress(updates, starts, job.out, config)
    with _asked_to_stop() as should_stop, bars as (advance, advance_start):
        samples = train(
            job.out,
            config,
            machine,
            data.groups,
            data.held_out,
            data.digest,
            start_from=job.start_from,
            on_start_group=advance_start,
            on_update=advance,
            should_stop=should_stop,
        )
    if _is_first_process():
        done = samples + config.batch > config.total_samples
        console.print(
            f"done: {job.out / 'weights.safetensors'}"
            if done
            else f"stopped after {samples:,} samples; the same command goes on",
            highlight=False,
            soft_wrap=True,
        )
    return 0


def _open_folder(job: TrainJob, config: TrainConfig, data: RunData) -> None:
    job.out.mkdir(parents=True, exist_ok=True)
    if not job.resume and any(job.out.iterdir()):
        raise UsageError(f"{job.out} is not empty, and --no-resume asks for a new run")
    if (job.out / CONFIG).exists():
        check_config(job.out, config)
    elif found_in(job.out):
        raise UsageError(f"{job.out} has checkpoints but no {CONFIG}: it is not a whole run")
    else:
        write_config(job.out, job.preset, config, data)


def _is_first_process() -> bool:
    """Tell whether this is the only process, or the one of several that speaks and writes."""
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
    return int(rank) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


@contextmanager
def _progress(
    updates: int, starts: int, folder: Path, config: TrainConfig
) -> Iterator[tuple[Callable[[], None], ...]]:
    found = found_in(folder)
    already = int(found[-1].stem.rpartition("-")[2]) // config.batch if found else 0
    with progress_bars(("training", updates), ("mean head", starts)) as advances:
        for _ in range(already):
            advances[0]()
        yield advances


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question that the loop asks; a second one kills."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
