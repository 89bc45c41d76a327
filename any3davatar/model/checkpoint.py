"""Weights on disk: one safetensors file that says which network it belongs to. No pickle.

Tensors are stored by parameter name; the metadata holds ``format``, ``version``, ``config`` (the
`ModelConfig` as JSON) and ``image_head``. Optimizer and progress of a run are another file's job.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.model.avatar import Any3DAvatar
from any3davatar.model.config import ModelConfig, read_config
from any3davatar.model.scaffold import placeholder_hull

FORMAT = "any3davatar weights"
VERSION = "1"


class CheckpointError(ValueError):
    """A weights file that is damaged, or belongs to another network than the one asked for."""


def save_weights(
    path: str | os.PathLike[str],
    model: Any3DAvatar,
    *,
    image_head: bool = False,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the weights so that a reader sees the old file or the new one, never half of one.

    Args:
        path: file to write; its folder must exist.
        model: the network.
        image_head: store `D_vae` too, to go on training; inference does not need it.
        dtype: ``torch.float32``, or ``torch.bfloat16`` for half the size and 8 significant bits.

    Raises:
        FileNotFoundError: the folder does not exist.
        InvalidInput: another dtype, or `image_head` for a network without one.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into: make it first")
    if dtype not in (torch.float32, torch.bfloat16):
        raise InvalidInput(f"weights are stored as torch.float32 or torch.bfloat16; got {dtype}")
    if image_head and model.image_decoder is None:
        raise InvalidInput("image_head=True, but this network was built without D_vae")
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if image_head or not name.startswith("image_decoder.")
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(asdict(model.config)),
        "image_head": json.dumps(image_head),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # one file system: replace is atomic
    try:
        temporary.touch()  # with the permissions of any new file; safetensors makes a private one
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, metadata)
        temporary.chmod(mode)
        _flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_weights(
    path: str | os.PathLike[str],
    *,
    expected: ModelConfig | None = None,
    recompute_activations: bool = False,
) -> Any3DAvatar:
    """Build the network that a file describes, in float32 on the CPU, with the file's weights.

    Args:
        path: file that `save_weights` wrote.
        expected: refuse the file if it belongs to another configuration than this one.
        recompute_activations: as `Any3DAvatar` has it.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not such a file, cut short, another configuration, or tensors that are
            missing, superfluous, of another shape, or not finite.
    """
    path = Path(path)
    metadata, tensors = _read(path)
    config, image_head = _described(path, metadata)
    if expected is not None:
        check_config(path, config, expected)
    hull = placeholder_hull(config) if config.hull_start else None
    with torch.device("meta"):  # no storage, no initial weights: both would be thrown away
        model = Any3DAvatar(
            config,
            image_head=image_head,
            hull=hull,
            recompute_activations=recompute_activations,
        )
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)
    return model


def check_config(path: Path, config: ModelConfig, expected: ModelConfig) -> None:
    """Raise `CheckpointError` if a file belongs to another configuration than the expected one."""
    theirs, ours = asdict(config), asdict(expected)
    differences = [
        f"{k} = {theirs[k]!r} (expected {ours[k]!r})" for k in ours if theirs[k] != ours[k]
    ]
    if differences:
        raise CheckpointError(f"{path} holds another network: {', '.join(differences)}")


def _flush(file: Path) -> None:
    """Wait until the file is on the disk: a rename may overtake its contents otherwise."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}): was it cut short? Fetch it again"
        ) from error


def _described(path: Path, metadata: dict[str, str]) -> tuple[ModelConfig, bool]:
    """Return the configuration in the metadata, and whether the file holds `D_vae`."""
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{path} must say format {FORMAT!r}, version {VERSION!r} in its metadata; got "
            f"{metadata.get('format')!r}, {metadata.get('version')!r}"
        )
    try:
        values = json.loads(metadata["config"])
        image_head = json.loads(metadata["image_head"])
        return read_config(values), bool(image_head)
    except (KeyError, TypeError, json.JSONDecodeError, InvalidInput) as error:
        raise CheckpointError(f"{path} has a damaged configuration: {error}") from error


def _check_tensors(path: Path, got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    missing, superfluous = sorted(set(wanted) - set(got)), sorted(set(got) - set(wanted))
    if missing or superfluous:
        raise CheckpointError(
            f"{path} does not hold the tensors that its configuration needs: missing {missing}, "
            f"superfluous {superfluous}"
        )
    for name, tensor in got.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path}: {name} must have shape {tuple(wanted[name].shape)}; got "
                f"{tuple(tensor.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
