"""Where a run stands, as one safetensors file: weights, their average, the optimizer, the count.

Tensors are named ``model.*``, ``average.*`` and ``optimizer.*``; the metadata holds the number of
samples, the configuration and the digest of the data. There is no random state to store: all that
is random about a sample follows from its number.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from any3davatar.core.errors import InvalidInput
from any3davatar.io import atomic_path
from any3davatar.model import Any3DAvatar, CheckpointError
from any3davatar.model.scaffold import placeholder_hull
from any3davatar.train.config import TrainConfig, from_json, to_json
from any3davatar.train.ema import WeightAverage

FORMAT = "any3davatar training checkpoint"
VERSION = 1
_PREFIX = "checkpoint-"
_MODEL, _AVERAGE, _OPTIMIZER = "model.", "average.", "optimizer."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds.

    Attributes:
        samples: samples seen.
        config: the run.
        data_digest: of the data that it learned from.
        tensors: everything, by prefixed name, on the CPU.
    """

    samples: int
    config: TrainConfig
    data_digest: str
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Any]:
        """Return the tensors under a prefix, without it."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


def gather(
    network: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage
) -> dict[str, Tensor]:
    """Return everything that learns, whole, on the CPU.

    All processes must call it; with several, those after the first may get nothing.
    """
    found = {_MODEL + name: _own(t) for name, t in _whole_weights(network).items()}
    with average.inside(network):
        found |= {_AVERAGE + name: _own(t) for name, t in _whole_weights(network).items()}
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = dict(get_optimizer_state_dict(network, optimizer, options=options))
    for parameter, moments in state.get("state", {}).items():
        found |= {f"{_OPTIMIZER}{parameter}.{k}": _own(t) for k, t in moments.items()}
    return found


def _whole_weights(network: nn.Module) -> dict[str, Any]:
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(network, options=options)


def _own(tensor: object) -> Tensor:
    """Return a copy: on a CPU, a gathered state would go on changing with the network."""
    assert isinstance(tensor, Tensor)
    return tensor.detach().clone().contiguous()


def restore(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage,
) -> None:
    """Put a checkpoint into a run that was built from the same configuration.

    Raises:
        CheckpointError: tensors are missing, superfluous, or of another shape.
    """
    whole = StateDictOptions(full_state_dict=True, strict=True)
    try:
        set_model_state_dict(network, checkpoint.part(_AVERAGE), options=whole)
        average.assign(network)
        set_model_state_dict(network, checkpoint.part(_MODEL), options=whole)
        # Rates and decays follow from the configuration; only the moments are stored.
        state: dict[str, Any] = dict(get_optimizer_state_dict(network, optimizer, options=whole))
        moments = _by_parameter(checkpoint.part(_OPTIMIZER))
        if set(moments) != set(state["state"]):
            raise CheckpointError(
                "the checkpoint's optimizer has other parameters than this network: "
                f"{sorted(set(moments) ^ set(state['state']))[:8]}"
            )
        state["state"] = moments
        set_optimizer_state_dict(network, optimizer, state, options=whole)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint does not fit this network: {error}") from error


def _by_parameter(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the optimizer's tensors of each parameter by their own names."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, moment = name.rpartition(".")
        found.setdefault(parameter, {})[moment] = tensor
    return found


def path_of(folder: Path, samples: int) -> Path:
    """Return the file of a checkpoint."""
    return folder / f"{_PREFIX}{samples:010d}.safetensors"


def found_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*.safetensors"))


def write(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint, whole or not at all, then delete all but the `keep` newest."""
    path = path_of(folder, checkpoint.samples)
    about = {
        "version": VERSION,
        "samples": checkpoint.samples,
        "config": to_json(checkpoint.config),
        "data_digest": checkpoint.data_digest,
    }
    # One key: the library does not promise an order of several, and equal states should give
    # equal bytes.
    metadata = {FORMAT: json.dumps(about)}
    with atomic_path(path) as temporary:
        save_file(checkpoint.tensors, temporary, metadata)
    for old in found_in(folder)[:-keep]:
        old.unlink()
    return path


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: damaged, of another kind or version, or not finite.
        OSError: the file can't be opened.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            about = json.loads(metadata.get(FORMAT, "{}"))
            if about.get("version") != VERSION:
                raise CheckpointError(
                    f"{path}: got metadata of {sorted(metadata)} with version "
                    f"{about.get('version')!r}, expected {FORMAT!r}, version {VERSION}"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        samples, digest = int(about["samples"]), str(about["data_digest"])
        config = from_json(about["config"])
    except (SafetensorError, KeyError, json.JSONDecodeError, InvalidInput) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): delete it, and the run goes on from the one before"
        ) from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path}: {name} holds values that are not finite: delete it, and the run goes on "
                "from the one before"
            )
    return Checkpoint(samples, config, digest, tensors)


def trained_model(checkpoint: Checkpoint, *, averaged: bool = True) -> Any3DAvatar:
    """Return the network of a checkpoint, on the CPU: its average, or its last weights."""
    config = checkpoint.config
    hull = placeholder_hull(config.model) if config.model.hull_start else None
    with torch.device("meta"):
        model = Any3DAvatar(config.model, image_head=config.avas, hull=hull)
    part = checkpoint.part(_AVERAGE if averaged else _MODEL)
    weights = {name.removeprefix("model."): tensor for name, tensor in part.items()}
    model.load_state_dict(weights, assign=True)
    return model
