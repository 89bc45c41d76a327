"""Which samples a process reads, in which order, and the workers that read them ahead."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import DataLoader

from any3davatar.train.samples import HeadSamples, Skipped, TrainBatch, join, placeholder


@dataclass(frozen=True, eq=False)
class Share:
    """What one process has of one update.

    Attributes:
        micro_batches: pushed through the network one after the other.
        skipped: samples that were left out.
    """

    micro_batches: tuple[TrainBatch, ...]
    skipped: tuple[Skipped, ...]


def numbers_of(
    first: int, total: int, batch: int, micro_batch: int, rank: int, processes: int
) -> list[list[int]]:
    """Return the sample numbers of each micro-batch of a process, update after update.

    Every update takes the next `batch` numbers; a process takes an even slice of them. Numbers
    that do not fill a last update are not used.
    """
    share = batch // processes
    found = []
    for start in range(first, total - batch + 1, batch):
        mine = range(start + rank * share, start + (rank + 1) * share)
        found += [list(mine[i : i + micro_batch]) for i in range(0, share, micro_batch)]
    return found


def shares(
    samples: HeadSamples,
    *,
    first: int,
    micro_batch: int,
    rank: int,
    processes: int,
    workers: int,
) -> Iterator[Share]:
    """Yield this process's share of each update, from the update that begins at sample `first`.

    Args:
        samples: all samples of the run.
        first: samples seen before.
        micro_batch: samples pushed through the network at once.
        rank: which process this is.
        processes: how many there are.
        workers: reading processes; with 0 this process reads.
    """
    config = samples.config
    numbers = numbers_of(first, config.total_samples, config.batch, micro_batch, rank, processes)
    loader = DataLoader(
        samples,
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=_keep,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="forkserver" if workers else None,
    )
    per_update = config.batch // processes // micro_batch
    pending: list[TrainBatch] = []
    skipped: list[Skipped] = []
    for read in loader:
        skipped += [sample for sample in read if isinstance(sample, Skipped)]
        present = [
            placeholder(sample.number, config) if isinstance(sample, Skipped) else sample
            for sample in read
        ]
        pending.append(join(present))
        if len(pending) == per_update:
            yield Share(tuple(pending), tuple(skipped))
            pending, skipped = [], []


def _keep(read: list[TrainBatch | Skipped]) -> list[TrainBatch | Skipped]:
    return read
