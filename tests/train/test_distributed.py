"""Several processes train as one does."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.core import InvalidInput
from any3davatar.train import checkpoint as checkpoints
from any3davatar.train.batches import numbers_of
from any3davatar.train.config import Machine
from any3davatar.train.log import read_log
from any3davatar.train.loop import train
from tests.train.tiny_run import CONFIG, MACHINE, make_beans


def launch_two(*arguments: str | Path) -> str:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.train.tiny_run", *map(str, arguments)]
    done = subprocess.run(
        [sys.executable, *launcher, *program],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def test_two_gloo_processes_learn_what_one_learns_from_the_same_batch(
    beans_root: Path, beans: tuple[GroupEntry, ...], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    said = launch_two(beans_root, two, "16", "4")
    assert "broadcast_buffers" not in said  # torch would warn of the name
    train(one, replace(CONFIG, total_samples=16, batch=4), MACHINE, beans, [], "beans")

    assert next(e for e in read_log(two) if e["kind"] == "start")["processes"] == 2
    curves = [[e for e in read_log(f) if e["kind"] == "train"] for f in (one, two)]
    assert len(curves[0]) == len(curves[1]) == 4
    for alone, together in zip(*curves, strict=True):
        for name in ("loss", "render_l2", "image_l2", "render_alpha", "gradient_norm"):
            # The same sums in another order, float32: 1e-7 an operation, grown by four updates
            # through AdamW, which divides by gradients that may be small.
            assert together[name] == pytest.approx(alone[name], rel=1e-4)
    weights = [checkpoints.read(checkpoints.found_in(f)[-1]).part("model.") for f in (one, two)]
    for name, weight in weights[0].items():
        # An update moves a weight by at most about the learning rate, 2e-3, whatever the gradient.
        assert torch.allclose(weight, weights[1][name], atol=2e-4), name


@pytest.mark.slow
def test_what_any_process_leaves_out_is_recorded_once(tmp_path: Path) -> None:
    root, run = tmp_path / "data", tmp_path / "run"
    run.mkdir()
    groups = make_beans(root)
    for picture in groups[1].folder.glob("*.png"):
        picture.unlink()
    launch_two(root, run, "16", "2", "0", "skip")
    skipped = [entry for entry in read_log(run) if entry["kind"] == "skipped"]
    assert [entry["id"] for entry in skipped] == [groups[1].id] * 4  # four epochs of four
    assert len({entry["sample"] for entry in skipped}) == 4


def test_processes_share_every_update_evenly_and_miss_nothing() -> None:
    alone = numbers_of(4, 20, batch=4, micro_batch=4, rank=0, processes=1)
    assert alone == [[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19]]
    parts = [numbers_of(4, 20, 4, 1, rank, 2) for rank in (0, 1)]
    for update, numbers in enumerate(alone):
        mine = [part[2 * update : 2 * update + 2] for part in parts]
        assert sorted(n for part in mine for batch in part for n in batch) == numbers


def test_samples_that_do_not_fill_an_update_are_not_used() -> None:
    assert numbers_of(0, 7, batch=3, micro_batch=3, rank=0, processes=1) == [[0, 1, 2], [3, 4, 5]]


def test_batches_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InvalidInput, match="divisible by the 3 processes; got 4"):
        Machine().micro_batch_of(4, 3)
    with pytest.raises(InvalidInput, match="must divide the 4 samples that each process has"):
        Machine(micro_batch=3).micro_batch_of(8, 2)
