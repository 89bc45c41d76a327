import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from any3davatar.core import InvalidInput
from any3davatar.model import CheckpointError, load_weights, save_weights
from any3davatar.model.config import ModelConfig
from tests.model.tiny import EXTRAS, PAPER, inputs, network, opened


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(path, opened(network(EXTRAS)))
    return path


def rewrite(path: Path, **changes: object) -> dict[str, torch.Tensor]:
    """Write the file again with changed metadata and return its tensors."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata | changes)  # pyright: ignore[reportArgumentType]
    return tensors


def with_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("config", [PAPER, EXTRAS])
@pytest.mark.parametrize("image_head", [False, True])
def test_round_trip_predicts_the_same(
    tmp_path: Path, config: ModelConfig, image_head: bool
) -> None:
    path = tmp_path / "weights.safetensors"
    model = opened(network(config, image_head=True))
    save_weights(path, model, image_head=image_head)
    loaded = load_weights(path, expected=config)
    assert loaded.config == config
    arguments = inputs(model)
    before = model(*arguments, decode_images=True)
    after = loaded(*arguments, decode_images=image_head)
    for name, tensor in before.gaussians.tensors().items():
        assert torch.equal(after.gaussians.tensors()[name], tensor)
    assert (after.images is None) == (not image_head)
    assert after.images is None or torch.equal(after.images, before.images)


def test_bfloat16_halves_the_file_and_rounds_each_weight_once(tmp_path: Path) -> None:
    model = opened(network(PAPER))
    exact, rounded = tmp_path / "exact.safetensors", tmp_path / "rounded.safetensors"
    save_weights(exact, model)
    save_weights(rounded, model, dtype=torch.bfloat16)
    numbers = sum(tensor.numel() for tensor in model.state_dict().values())
    assert exact.stat().st_size - rounded.stat().st_size == pytest.approx(2 * numbers, abs=1000)
    for name, tensor in load_weights(rounded).state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.state_dict()[name].bfloat16().float())


def test_saving_replaces_the_file_and_leaves_nothing_else(stored: Path) -> None:
    save_weights(stored, network(PAPER))
    assert load_weights(stored).config == PAPER
    assert [file.name for file in stored.parent.iterdir()] == [stored.name]


def test_a_failed_save_leaves_the_old_file(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored.read_bytes()

    def disk_full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match="no space left"):
        save_weights(stored, network(PAPER))
    assert stored.read_bytes() == before
    assert [file.name for file in stored.parent.iterdir()] == [stored.name]


def test_others_may_read_what_they_could_read_of_any_new_file(stored: Path) -> None:
    plain = stored.with_name("plain.txt")
    plain.write_text("")
    assert stored.stat().st_mode == plain.stat().st_mode


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent to write w.safetensors into"):
        save_weights(tmp_path / "absent" / "w.safetensors", network(PAPER))


def test_loaded_weights_can_be_trained_on(stored: Path) -> None:
    model = load_weights(stored)
    assert all(p.requires_grad and p.device.type == "cpu" for p in model.parameters())
    assert all(buffer.device.type == "cpu" for buffer in model.buffers())


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights file at .*absent"):
        load_weights(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_truncated_file(stored: Path, kept: int) -> None:
    stored.write_bytes(stored.read_bytes()[:kept])
    with pytest.raises(
        CheckpointError, match=r"is not a whole safetensors file .*was it cut short"
    ):
        load_weights(stored)


def test_other_network_than_expected(stored: Path) -> None:
    expected = replace(EXTRAS, width=64, color_skip=False)
    message = r"holds another network: width = 32 \(expected 64\), color_skip = True \(expected Fal"
    with pytest.raises(CheckpointError, match=message):
        load_weights(stored, expected=expected)


def test_missing_tensor(stored: Path) -> None:
    tensors = rewrite(stored)
    del tensors["dit.modulation.weight"]
    with_tensors(stored, tensors)
    with pytest.raises(CheckpointError, match=r"missing \['dit.modulation.weight'\], superfluous"):
        load_weights(stored)


def test_superfluous_tensor(stored: Path) -> None:
    with_tensors(stored, rewrite(stored) | {"image_decoder.conv_in.weight": torch.zeros(1)})
    with pytest.raises(
        CheckpointError, match=r"missing \[\], superfluous \['image_decoder.conv_in"
    ):
        load_weights(stored)


def test_tensor_of_another_shape(stored: Path) -> None:
    with_tensors(stored, rewrite(stored) | {"dit.modulation.bias": torch.zeros(3)})
    with pytest.raises(
        CheckpointError, match=r"dit.modulation.bias must have shape \(64,\); got \(3"
    ):
        load_weights(stored)


def test_weights_that_diverged(stored: Path) -> None:
    with_tensors(stored, rewrite(stored) | {"dit.modulation.bias": torch.full((64,), torch.nan)})
    with pytest.raises(
        CheckpointError, match=r"dit.modulation.bias holds values that are not fini"
    ):
        load_weights(stored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": "else"},
            "must say format 'any3davatar weights', version '1' .*got 'else', '1'",
        ),
        ({"version": "2"}, "must say format .* got 'any3davatar weights', '2'"),
        ({"config": "{"}, "has a damaged configuration"),
        (
            {"config": json.dumps(asdict(PAPER) | {"width": 33})},
            "damaged .*width must be divisible",
        ),
        (
            {"config": json.dumps({"width": 32})},
            r"damaged configuration: other fields than this version's: \['align",
        ),
        ({"image_head": "perhaps"}, "has a damaged configuration"),
    ],
)
def test_damaged_metadata(stored: Path, changes: dict[str, object], message: str) -> None:
    rewrite(stored, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_weights(stored)


def test_files_of_another_version_are_told_from_damaged_ones(tmp_path: Path) -> None:
    stored = tmp_path / "weights.safetensors"
    save_weights(stored, network(PAPER))
    values = asdict(PAPER)
    without_noise = {name: value for name, value in values.items() if name != "noise"}
    for other in (without_noise, values | {"else": 1}):
        rewrite(stored, config=json.dumps(other))
        with pytest.raises(CheckpointError, match="other fields than this version's"):
            load_weights(stored)


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InvalidInput, match=r"torch.float32 or torch.bfloat16; got torch.float16"):
        save_weights(path, network(PAPER), dtype=torch.float16)
    with pytest.raises(InvalidInput, match="image_head=True, but this network was built without"):
        save_weights(path, network(PAPER), image_head=True)
    assert not path.exists()
