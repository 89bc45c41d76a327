"""``any3davatar train``: what a person types, and what comes back."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from any3davatar.anyhead.build import build
from any3davatar.anyhead.readers import AnyHead
from any3davatar.anyhead.splits import Split, SplitRule, Splits, assigned, write_splits
from any3davatar.commands.train_cli import train
from any3davatar.model import Any3DAvatar, load_weights
from any3davatar.model.start import seen_from_front, start_of
from any3davatar.train.config import TRAIN_PRESETS
from any3davatar.train.log import read_log
from tests.train.tiny_run import Beans, make_beans

TINY = [
    "lpips_weight=0", "model.size_px=16", "model.patch_px=4", "model.width=16", "model.blocks=1",
    "model.heads=2", "model.point_channels=4", "total_samples=8", "warmup_samples=2",
    "hull_groups=2",
]  # fmt: skip
MACHINE = [
    "accelerator=cpu", "workers=0", "log_samples=4", "checkpoint_samples=4", "tensorboard=false",
    "picture_samples=8",
]  # fmt: skip

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(train)


def run(out: Path, data: Path, extra: Sequence[str] = (), settings: Sequence[str] = ()) -> tuple:
    arguments = [str(out), "--data", str(data), *extra]
    for setting in (*TINY, *settings):
        arguments += ["--set", setting]
    for setting in MACHINE:
        arguments += ["--machine", setting]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def split_beans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("split-beans")
    groups = make_beans(root)
    rule = SplitRule(salt="beans", validation=0.4, test=0.0)
    splits = assigned(rule, (group.head.subject for group in groups))
    assert splits.counts["train"] > 0
    assert splits.counts["validation"] > 0
    write_splits(root, splits)
    return root


def test_a_run_is_described_before_it_starts_and_goes_on_when_asked_again(
    split_beans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs" / "first"
    code, output = run(out, split_beans)
    assert code == 0, output
    config = json.loads((out / "config.json").read_text())
    assert config["train"]["model"]["width"] == 16
    assert config["train"]["learning_rate"] == TRAIN_PRESETS["mini"].learning_rate
    assert config["preset"] == "mini"
    lines = read_log(out)
    assert [e["samples"] for e in lines if e["kind"] == "held_out"] == [8]
    assert (out / "weights.safetensors").is_file()
    assert run(out, split_beans)[0] == 0  # nothing is left to do
    code, output = run(out, split_beans, settings=["batch=4"])
    assert code == 2
    assert "holds another run (batch: 2 -> 4)" in output
    code, output = run(out, split_beans, ["--no-resume"])
    assert code == 2
    assert "is not empty" in output


def test_training_never_sees_the_validation_subjects(split_beans: Path, tmp_path: Path) -> None:
    code, output = run(tmp_path / "run", split_beans, ["--epochs", "4"])
    assert code == 0, output
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    trained_on = config["data"]["groups"]
    assert 0 < trained_on < 4
    assert config["train"]["total_samples"] == 4 * trained_on


def test_a_dry_run_tells_and_writes_nothing(split_beans: Path, tmp_path: Path) -> None:
    code, output = run(tmp_path / "run", split_beans, ["--dry-run"])
    assert code == 0, output
    assert "8 in 4 updates" in output
    assert "GiB at most so far" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "settings", "message"),
    [
        (["--preset", "giant"], [], "unknown preset 'giant'; known: full, base, small, mini"),
        ([], ["batsh=3"], "TrainConfig has no field 'batsh'"),
        ([], ["model.patch_px=3"], "patch_px must be a power of two"),
        (["--machine", "threads=2"], [], "Machine has no field 'threads'"),
    ],
)
def test_requests_that_cannot_be_met_are_refused_in_one_line(
    extra: list[str], settings: list[str], message: str, split_beans: Path, tmp_path: Path
) -> None:
    code, output = run(tmp_path / "run", split_beans, extra, settings)
    assert code == 2
    assert message in output
    assert not (tmp_path / "run").exists()


def test_data_without_splits_and_folders_without_data_are_refused(
    beans_root: Path, tmp_path: Path
) -> None:
    code, output = run(tmp_path / "run", beans_root)
    assert code == 2
    assert "has no SPLITS.json: run `any3davatar data split`, or train on all" in output
    (tmp_path / "empty").mkdir()
    code, output = run(tmp_path / "run", tmp_path / "empty", settings=["split=all"])
    assert code == 2
    assert "expected the root of an AnyHead data set" in output


def test_a_run_learns_from_several_data_sets_that_fit_together(
    split_beans: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    build(others, Beans(), [100, 101, 102])
    subjects = [group.head.subject for group in AnyHead(others).groups]
    rule = SplitRule(salt="beans", validation=0.4, test=0.0)

    def store(*validation: str) -> None:
        chosen: dict[str, Split] = {
            name: "validation" if name in validation else "train" for name in subjects
        }
        write_splits(others, Splits(rule, chosen))

    store(subjects[0])
    both = ["--data", str(others)]
    code, output = run(tmp_path / "run", split_beans, both)
    assert code == 0, output
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    alone = len(AnyHead(split_beans, split="train"))
    assert stored["groups"] == alone + 2
    assert stored["roots"] == [str(split_beans), str(others)]
    code, output = run(tmp_path / "twice", split_beans, ["--data", str(split_beans)])
    assert code == 2
    assert "is in two of the data sets; give each person once" in output
    known = AnyHead(split_beans, split="train").heads[0]
    build(others, Beans(), [known.seed])
    subjects.append(known.subject)
    store(known.subject)
    code, output = run(tmp_path / "leaking", split_beans, both)
    assert code == 2
    assert f"{known.subject} is in the training split of one data set and in the" in output


def test_a_run_can_begin_with_the_weights_of_another(split_beans: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(first, split_beans)[0] == 0
    weights = first / "weights.safetensors"
    begun = ["learning_rate=1e-12", "weight_decay=0"]  # what it begins with is what it ends with
    code, output = run(second, split_beans, ["--start-from", str(weights)], begun)
    assert code == 0, output
    theirs, ours = (load_weights(run / "weights.safetensors") for run in (first, second))
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, atol=1e-6, rtol=0)
    stored = json.loads((second / "config.json").read_text())["train"]["start_sha256"]
    assert stored == hashlib.sha256(weights.read_bytes()).hexdigest()
    code, output = run(second, split_beans, [], begun)
    assert code == 2
    assert "start_sha256" in output


def test_a_deeper_network_begins_as_the_one_whose_weights_it_takes(
    split_beans: Path, tmp_path: Path
) -> None:
    assert run(tmp_path / "first", split_beans)[0] == 0
    begun = ["--start-from", str(tmp_path / "first" / "weights.safetensors")]
    still = ["model.blocks=3", "learning_rate=1e-12", "weight_decay=0"]
    code, output = run(tmp_path / "deeper", split_beans, begun, still)
    assert code == 0, output
    first, deeper = (
        load_weights(tmp_path / name / "weights.safetensors") for name in ("first", "deeper")
    )
    assert len(deeper.dit.blocks) == 3
    g = torch.Generator().manual_seed(0)
    portrait, rays = torch.rand(1, 4, 16, 16, generator=g), torch.rand(1, 6, 16, 16, generator=g)
    state = first.start_state(1, g)
    heads = [model(portrait, rays, state, torch.zeros(1)).gaussians for model in (first, deeper)]
    for name, tensor in heads[0].tensors().items():
        # Averaging rounds weights again: some last digits of float32, grown by three blocks.
        torch.testing.assert_close(heads[1].tensors()[name], tensor, atol=1e-5, rtol=0)
    code, output = run(tmp_path / "learns", split_beans, begun, ["model.blocks=3"])
    assert code == 0, output
    learned = load_weights(tmp_path / "learns" / "weights.safetensors")
    gates = learned.get_parameter("dit.blocks.2.modulation.weight").detach()
    assert float(gates.abs().max()) > 0
    begun = ["--start-from", str(tmp_path / "deeper" / "weights.safetensors")]
    code, output = run(tmp_path / "shallower", split_beans, begun)
    assert code == 2
    assert "blocks = 3 (expected 1)" in output


def test_a_run_with_a_new_head_follows_heads_as_its_own_data_say(
    split_beans: Path, tmp_path: Path
) -> None:
    few = ["model.hull_ways=2", "model.hull_waves=0"]
    more = ["model.hull_ways=3", "model.hull_waves=4", "learning_rate=1e-12"]
    assert run(tmp_path / "first", split_beans, settings=few)[0] == 0
    begun = ["--start-from", str(tmp_path / "first" / "weights.safetensors")]
    code, output = run(tmp_path / "refused", split_beans, begun, more)
    assert code == 2
    assert "hull_ways = 2 (expected 3)" in output
    code, output = run(tmp_path / "second", split_beans, begun, [*more, "new_head=true"])
    assert code == 0, output
    assert run(tmp_path / "alone", split_beans, settings=more)[0] == 0
    first, second, alone = (
        load_weights(tmp_path / name / "weights.safetensors")
        for name in ("first", "second", "alone")
    )
    assert second.scaffold.ways.shape[0] == 3
    for name, tensor in alone.scaffold.state_dict().items():  # the head of this data
        assert torch.equal(second.scaffold.state_dict()[name], tensor), name
    for name, tensor in first.named_parameters():  # gone on with
        if name != "palette.mixture":
            torch.testing.assert_close(second.get_parameter(name), tensor, atol=1e-6, rtol=0)
    assert first.palette is not None
    assert second.palette is not None
    assert alone.palette is not None
    seen = seen_from_front(second.scaffold)
    assert 0 < int(seen[1:].sum()) < seen[1:].numel()
    mixture = second.palette.mixture  # which pixels wear what: that of the new head where it shows
    torch.testing.assert_close(mixture[seen], alone.palette.mixture[seen], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixture[~seen], first.palette.mixture[~seen], atol=1e-6, rtol=0)


def test_ways_go_on_from_those_of_the_weights_to_begin_with(
    split_beans: Path, tmp_path: Path
) -> None:
    """With very many groups before, a head is what it was; with few, it learns from the new."""
    still = ["learning_rate=1e-12", "weight_decay=0"]
    assert run(tmp_path / "first", split_beans, settings=still)[0] == 0
    begun = ["--start-from", str(tmp_path / "first" / "weights.safetensors")]
    for name, groups in (("many", 10**9), ("few", 1)):
        settings = [*still, f"ways_groups_before={groups}"]
        code, output = run(tmp_path / name, split_beans, begun, settings)
        assert code == 0, output
    first, many, few = (
        load_weights(tmp_path / name / "weights.safetensors") for name in ("first", "many", "few")
    )
    for name, tensor in first.named_parameters():  # the palette too: it is the same mean head
        torch.testing.assert_close(few.get_parameter(name), tensor, atol=1e-6, rtol=0)

    def guess(model: Any3DAvatar) -> torch.Tensor:
        portrait = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        return start_of(model.scaffold, portrait, model.config).opacity

    # two float32 roundings of a logit and back
    torch.testing.assert_close(guess(many), guess(first), atol=2e-3, rtol=0)
    assert float((guess(few) - guess(first)).abs().max()) > 0.02
    code, output = run(tmp_path / "alone", split_beans, [], ["ways_groups_before=8"])
    assert code == 2
    assert "it needs --start-from and model.hull_ways, and no new_head" in output


def test_weights_of_another_network_are_no_beginning(split_beans: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "first", split_beans)[0] == 0
    weights = str(tmp_path / "first" / "weights.safetensors")
    code, output = run(
        tmp_path / "second", split_beans, ["--start-from", weights], ["model.width=8"]
    )
    assert code == 2
    assert "width = 16 (expected 8)" in output
