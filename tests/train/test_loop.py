"""Every objective trains, learns, and writes down what it did."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.io import read_png
from any3davatar.model import ModelConfig, load_weights, save_weights
from any3davatar.model.config import Noise
from any3davatar.registry_files import sha256_of
from any3davatar.sampling import multi_step, one_step
from any3davatar.train import checkpoint as checkpoints
from any3davatar.train import loop
from any3davatar.train.batches import Share
from any3davatar.train.config import Machine, Objective, TrainConfig
from any3davatar.train.ema import WeightAverage
from any3davatar.train.hull import mean_hull
from any3davatar.train.log import read_log
from any3davatar.train.network import TrainingNetwork, noise_and_time
from any3davatar.train.optim import make_optimizer, matrices_of
from any3davatar.train.pictures import psnr_db
from any3davatar.train.plan import make_plan, written_out
from any3davatar.train.samples import HeadSamples, TrainBatch, join
from tests.model.tiny import network
from tests.train.tiny_run import BEANS, CONFIG, MACHINE, PAPER_CONFIG

Beans = tuple[GroupEntry, ...]


def trained_losses(
    config: TrainConfig, beans: Beans, updates: int, machine: Machine = MACHINE
) -> list[float]:
    """Return the loss of each of some updates with the same two samples."""
    hull = mean_hull(beans[:1], config) if config.model.hull_start else None
    fabric = loop.make_fabric(config, machine)
    trainee = loop.make_trainee(config, machine, fabric, hull)
    samples = HeadSamples(beans, config)
    batch = join([read for n in (0, 1) if isinstance(read := samples[n], TrainBatch)])
    share = Share((batch,), ())
    return [
        loop.update(trainee, share, k * config.batch, samples.id_of).terms["loss"] / 2
        for k in range(updates)
    ]


@pytest.mark.parametrize(
    ("noise", "objective", "avas"),
    [
        ("pixel+plucker", "one-step", True),
        ("pixel+plucker", "multi-step", True),
        ("pixel+plucker", "one-step", False),
        ("pixel", "multi-step", False),
        ("latent", "multi-step", True),
        ("latent", "one-step", False),
    ],
)
def test_every_objective_and_noise_learns(
    noise: Noise, objective: Objective, avas: bool, beans: Beans
) -> None:
    model = replace(PAPER_CONFIG.model, noise=noise, learned_positions=True)
    config = replace(PAPER_CONFIG, model=model, objective=objective, avas=avas, learning_rate=5e-3)
    losses = trained_losses(config, beans, 12)
    assert losses[-1] < 0.9 * losses[0]


def test_bfloat16_trains_alike(beans: Beans) -> None:
    exact = trained_losses(CONFIG, beans, 4)
    rough = trained_losses(replace(CONFIG, precision="bf16"), beans, 4)
    assert rough == pytest.approx(exact, rel=0.03)  # 8 significant bits in the network
    assert rough != exact


def test_recomputed_activations_change_nothing(beans: Beans) -> None:
    exact = trained_losses(CONFIG, beans, 3)
    again = trained_losses(CONFIG, beans, 3, replace(MACHINE, recompute_activations=True))
    assert again == exact


def test_only_matrices_are_decayed(beans: Beans) -> None:
    network = TrainingNetwork(loop.make_trainee(
        CONFIG, MACHINE, loop.make_fabric(CONFIG, MACHINE), mean_hull(beans, CONFIG)
    ).model, CONFIG)  # fmt: skip
    optimizer = make_optimizer(network, CONFIG, matrices_of(network))
    decayed, rest = (group["params"] for group in optimizer.param_groups)
    assert all(p.ndim > 1 for p in decayed)
    positions = [p for name, p in network.named_parameters() if name.endswith("positions")]
    assert len(positions) == 2
    assert {id(p) for p in positions} < {id(p) for p in rest}
    assert len(decayed) + len(rest) == len(list(network.parameters()))


def test_multi_step_times_are_uniform_and_one_step_times_are_zero(beans: Beans) -> None:
    config = PAPER_CONFIG
    trainee = loop.make_trainee(config, MACHINE, loop.make_fabric(config, MACHINE), None)
    one = HeadSamples(beans, config)[0]
    assert isinstance(one, TrainBatch)
    many = join([replace(one, numbers=torch.tensor([n])) for n in range(400)])
    _, t = noise_and_time(trainee.model, many, config)
    assert float(t.min()) < 0.02
    assert float(t.max()) > 0.98
    assert float(t.mean()) == pytest.approx(0.5, abs=0.06)  # four deviations of a mean of 400
    _, zero = noise_and_time(trainee.model, many, replace(config, objective="one-step"))
    assert not zero.any()


def test_a_run_writes_its_curve_its_pictures_and_its_weights(beans: Beans, tmp_path: Path) -> None:
    machine = replace(
        MACHINE, picture_samples=8, tensorboard=True, keep_checkpoints=1, milestone_samples=8
    )
    updates: list[None] = []
    loop.train(
        tmp_path, CONFIG, machine, beans[1:], beans[:1], "beans",
        on_update=lambda: updates.append(None),
    )  # fmt: skip
    assert len(updates) == 12
    lines = read_log(tmp_path)
    kinds = [entry["kind"] for entry in lines]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    curve = [entry for entry in lines if entry["kind"] == "train"]
    assert [entry["samples"] for entry in curve] == [4, 8, 12, 16, 20, 24]
    for entry in curve:
        parts = entry["render_l2"] + entry["image_l2"] + entry["render_alpha"]
        assert entry["loss"] == pytest.approx(parts, rel=1e-5)  # weights of 1, float32 sums
    assert [e["samples"] for e in lines if e["kind"] == "held_out"] == [8, 16, 24]
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "0000000008.png", "0000000016.png", "0000000024.png",
    ]  # fmt: skip
    rgb, _ = read_png(tmp_path / "pictures" / "0000000024.png")
    size = CONFIG.model.size_px
    assert rgb.shape == (3, 2 * size, 6 * size)  # truth above prediction; a portrait and 5 views
    assert list((tmp_path / "tensorboard").iterdir())
    assert len(checkpoints.found_in(tmp_path)) == 1
    weights = {p.name for p in tmp_path.glob("weights*")}
    milestones = {f"weights-{samples:010d}.safetensors" for samples in (8, 16, 24)}
    assert weights == milestones | {"weights.safetensors"}
    assert json.dumps(lines)


def test_trained_weights_sample_in_one_step_and_in_several(beans: Beans, tmp_path: Path) -> None:
    loop.train(tmp_path, CONFIG, MACHINE, beans, [], "beans")
    model = load_weights(tmp_path / "weights.safetensors")
    batch = HeadSamples(beans, CONFIG)[0]
    assert isinstance(batch, TrainBatch)
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    one = one_step(model, batch.portrait, batch.portrait_rays, generator=next(generators))
    several = multi_step(
        model, batch.portrait, batch.portrait_rays,
        steps=2, background=torch.ones(3), generator=next(generators),
    )  # fmt: skip
    one.validate()
    several.validate()


def test_the_average_is_put_back_after_it_was_looked_at() -> None:
    network = torch.nn.Linear(3, 2)
    average = WeightAverage(network)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    average.update(network, 0.75)
    with average.inside(network):
        assert torch.allclose(network.weight, start + 0.25, atol=1e-6)  # float32
    assert torch.allclose(network.weight, start + 1, atol=1e-6)


def test_psnr_is_what_its_definition_says() -> None:
    truth = torch.zeros(1, 1, 3, 4, 4)
    assert float(psnr_db(truth + 0.1, truth)) == pytest.approx(20, abs=1e-4)  # float32 of 0.1


def test_a_plan_counts_and_measures_without_writing(beans: Beans) -> None:
    plan = make_plan(replace(CONFIG, total_samples=1000), MACHINE, beans)
    assert (plan.groups, plan.samples, plan.updates) == (BEANS, 1000, 500)
    assert plan.epochs == 1000 / BEANS
    assert plan.hours * 3600 == pytest.approx(plan.start_seconds + 500 * plan.seconds_per_update)
    assert plan.start_seconds > 0  # it looked at the mean head's groups
    assert plan.peak_memory_bytes > 2**26  # torch alone is larger
    assert "1,000 in 500 updates (250.0 epochs)" in written_out(plan)


def test_a_plan_of_a_run_that_begins_with_weights_counts_the_head_it_computes(
    beans: Beans, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, network(CONFIG.model))
    config = replace(CONFIG, start_sha256=sha256_of(weights))
    assert make_plan(config, MACHINE, beans, start_from=weights).start_seconds == 0
    for asked in ({"new_head": True}, {"ways_groups_before": 8}):
        plan = make_plan(replace(config, **asked), MACHINE, beans, start_from=weights)
        assert plan.start_seconds > 0


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_keeps_its_names(
    beans_root: Path, tmp_path: Path
) -> None:
    # In processes of their own: the type hook of the tests stands in the compiler's way.
    for name in ("plain", "compile"):
        (tmp_path / name).mkdir()
        program = ["-m", "tests.train.tiny_run", beans_root, tmp_path / name, 8, 2, 0, name]
        subprocess.run([sys.executable, *map(str, program)], check=True, timeout=400)
    losses = [
        [entry["loss"] for entry in read_log(tmp_path / name) if entry["kind"] == "train"]
        for name in ("plain", "compile")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)  # fused float32 sums
    load_weights(tmp_path / "compile" / "weights.safetensors", expected=CONFIG.model)


@pytest.mark.slow
def test_mini_learns_one_head_by_heart(beans_root: Path, tmp_path: Path) -> None:
    """The shape of `mini`, without LPIPS, on one bean: 8 views in about two minutes."""
    from any3davatar.train.config import TRAIN_PRESETS
    from tests.train.tiny_run import make_beans

    groups = make_beans(beans_root)[:1]
    preset = TRAIN_PRESETS["mini"]
    model: ModelConfig = preset.model
    config = replace(
        preset, lpips_weight=0.0, split="all", flip=False, hull_groups=1, total_samples=600,
        warmup_samples=50, ema_halflife_samples=30, model=model,
    )  # fmt: skip
    machine = replace(MACHINE, log_samples=100, checkpoint_samples=600, picture_samples=600)
    loop.train(tmp_path, config, machine, groups, groups, "beans")
    (held_out,) = (e for e in read_log(tmp_path) if e["kind"] == "held_out")
    assert held_out["psnr_db"] > 26
