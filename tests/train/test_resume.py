"""A run that was stopped or killed goes on as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.model import CheckpointError, load_weights
from any3davatar.train import checkpoint as checkpoints
from any3davatar.train.log import read_log
from any3davatar.train.loop import train
from tests.train.tiny_run import CONFIG, MACHINE

Beans = tuple[GroupEntry, ...]


def run_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def same_tensors(a: Path, b: Path) -> bool:
    left, right = load_file(a), load_file(b)
    return set(left) == set(right) and all(torch.equal(left[k], right[k]) for k in left)


def curve(folder: Path) -> list[dict[str, float]]:
    entries = [entry for entry in read_log(folder) if entry["kind"] == "train"]
    measured = ("kind", "samples_per_second")
    return [{k: v for k, v in entry.items() if k not in measured} for entry in entries]


def start(data: Path, folder: Path, total: int, pause: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.train.tiny_run", data, folder, total, 2, pause]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    beans_root: Path, beans: Beans, tmp_path: Path
) -> None:
    alone, killed = run_folder(tmp_path, "alone"), run_folder(tmp_path, "killed")
    config = replace(CONFIG, total_samples=40)
    train(alone, config, MACHINE, beans, [], "beans")

    process = start(beans_root, killed, 40, pause=0.05)
    deadline = time.monotonic() + 120
    while not checkpoints.found_in(killed) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(random.Random(0).uniform(0, 0.2))  # somewhere inside an update, not after one
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = checkpoints.read(checkpoints.found_in(killed)[-1]).samples
    assert 0 < reached < 40
    assert not (killed / "weights.safetensors").exists()

    assert train(killed, config, MACHINE, beans, [], "beans") == 40
    for name in ("weights.safetensors", checkpoints.path_of(Path(), 40).name):
        assert same_tensors(alone / name, killed / name)
    assert curve(alone) == curve(killed)


def test_a_run_that_is_asked_to_stop_keeps_what_it_has(beans: Beans, tmp_path: Path) -> None:
    alone, paused = run_folder(tmp_path, "alone"), run_folder(tmp_path, "paused")
    train(alone, CONFIG, MACHINE, beans, [], "beans")
    calls = iter([False, False, True])
    samples = train(paused, CONFIG, MACHINE, beans, [], "beans", should_stop=lambda: next(calls))
    assert samples == 6  # three updates of two, between two regular checkpoints
    train(paused, CONFIG, MACHINE, beans, [], "beans")
    assert same_tensors(alone / "weights.safetensors", paused / "weights.safetensors")


def test_workers_and_micro_batches_change_no_sample(beans: Beans, tmp_path: Path) -> None:
    one, other = run_folder(tmp_path, "one"), run_folder(tmp_path, "other")
    config = replace(CONFIG, total_samples=8)
    train(one, config, MACHINE, beans, [], "beans")
    train(other, config, replace(MACHINE, micro_batch=1), beans, [], "beans")
    for ours, theirs in zip(curve(one), curve(other), strict=True):
        # Sums of two samples in another order, four updates long.
        assert theirs == pytest.approx(ours, rel=1e-4)


def test_the_weights_file_is_the_average_and_loads_as_a_network(
    beans: Beans, tmp_path: Path
) -> None:
    train(tmp_path, CONFIG, MACHINE, beans, [], "beans")
    stored = checkpoints.read(checkpoints.found_in(tmp_path)[-1])
    model = load_weights(tmp_path / "weights.safetensors", expected=CONFIG.model)
    average, last = stored.part("average.model."), stored.part("model.model.")
    weight = "dit.blocks.0.mlp.0.weight"
    name = weight if weight in average else next(n for n in average if n.endswith("mlp.0.weight"))
    assert torch.equal(model.state_dict()[name], average[name])
    assert not torch.equal(average[name], last[name])
    assert model.image_decoder is None


def test_a_run_killed_after_its_last_checkpoint_still_ends_with_weights(
    beans: Beans, tmp_path: Path
) -> None:
    train(tmp_path, CONFIG, MACHINE, beans, [], "beans")
    weights = tmp_path / "weights.safetensors"
    whole = load_file(weights)
    weights.unlink()
    assert train(tmp_path, CONFIG, MACHINE, beans, [], "beans") == CONFIG.total_samples
    again = load_file(weights)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_run_does_not_go_on_as_another(beans: Beans, tmp_path: Path) -> None:
    short = replace(CONFIG, total_samples=8)
    train(tmp_path, short, MACHINE, beans, [], "beans")
    with pytest.raises(CheckpointError, match=r"learning_rate: 0\.002 -> 0\.1"):
        train(tmp_path, replace(short, learning_rate=0.1), MACHINE, beans, [], "beans")
    with pytest.raises(CheckpointError, match="began with other data"):
        train(tmp_path, short, MACHINE, beans, [], "peas")


def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_whole(
    beans: Beans, tmp_path: Path
) -> None:
    config = replace(CONFIG, total_samples=16)
    train(tmp_path, config, MACHINE, beans, [], "beans")
    before, last = checkpoints.found_in(tmp_path)
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"is damaged.*delete it, and the run goes on"):
        train(tmp_path, config, MACHINE, beans, [], "beans")
    last.unlink()
    assert checkpoints.read(before).samples == 8
    assert train(tmp_path, config, MACHINE, beans, [], "beans") == 16
    assert last.read_bytes() == whole
