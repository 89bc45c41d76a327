"""LPIPS and DreamSim: distances between what networks see."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.metrics.spec import check_golden, golden_pictures
from any3davatar.networks.lpips_network import N_HEADS, LpipsKind, load_lpips

# Between `golden_pictures`, from the weights whose digests stand in
# any3davatar.networks.lpips_network, lpips 0.1.4, torch 2.14 on a CPU.
LPIPS_GOLDEN = {"alex": 0.197041, "vgg": 0.421630}
_EPSILON = np.float32(1e-10)  # of lpips.normalize_tensor


class Lpips:
    """LPIPS 0.1 (Zhang et al., 2018), the network of the `lpips` package, 0.1.4.

    Equal to calling the package but for the order of sums. Features are described once a picture:
    of length 1 at each pixel, times the root of the head's weights, so that the distance is a sum
    of squared differences. They are laid out with channels last, along which all sums run.

    Attributes:
        backbone: the network that sees pictures.
    """

    def __init__(self, kind: LpipsKind) -> None:
        network: Any = load_lpips(kind)
        self._scaling = network.scaling_layer
        self.backbone: Any = network.net.to(memory_format=torch.channels_last)
        heads = [getattr(network, f"lin{k}").model[1].weight for k in range(N_HEADS)]
        self._roots = [head.reshape(-1).sqrt().numpy() for head in heads]

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> list[np.ndarray]:
        """Return (pixels, channels) features, layer by layer."""
        from a3d_bench.metrics.kernels import scale_features

        with torch.inference_mode():
            scaled = self._scaling(2 * rgb[None] - 1)
            layers = self.backbone(scaled.contiguous(memory_format=torch.channels_last))
        described = []
        for layer, roots in zip(layers, self._roots, strict=True):
            # A view where the layer has channels last already, as convolutions leave it.
            features = layer[0].movedim(0, -1).flatten(0, 1).contiguous().numpy()
            scale_features(features, roots, _EPSILON)
            described.append(features)
        return described

    def compare(self, truth: list[np.ndarray], prediction: list[np.ndarray]) -> float:
        """Return the distance."""
        from a3d_bench.metrics.kernels import squared_distance

        pairs = zip(truth, prediction, strict=True)
        return sum(squared_distance(a.reshape(-1), b.reshape(-1)) / len(a) for a, b in pairs)


def load_checked_lpips(kind: LpipsKind) -> Lpips:
    """Return LPIPS after its golden value was found.

    Raises:
        BenchError: it was not.
    """
    metric = Lpips(kind)
    a, b = map(metric.describe, golden_pictures())
    check_golden(f"lpips[{kind.name}]", metric.compare(a, b), LPIPS_GOLDEN[kind.name], 1e-4)
    return metric


class DreamSim:
    """DreamSim (Fu et al., 2023), the ensemble of the `dreamsim` package: 1 - cosine.

    Args:
        folder: the package's own cache folder, complete.
    """

    def __init__(self, folder: str) -> None:
        from dreamsim import dreamsim  # pyright: ignore[reportMissingImports]

        self._model, _ = dreamsim(
            pretrained=True, device="cpu", cache_dir=folder, dreamsim_type="ensemble"
        )

    def describe(self, rgb: Float[Tensor, "3 H W"]) -> Tensor:
        """Return the embedding of the picture at 224 x 224, as the package's preprocessing."""
        from torchvision.transforms.functional import (
            InterpolationMode,
            pil_to_tensor,
            resize,
            to_pil_image,
        )

        small = resize(to_pil_image(rgb), [224, 224], interpolation=InterpolationMode.BICUBIC)
        with torch.inference_mode():
            return self._model.embed(pil_to_tensor(small)[None].float() / 255).reshape(-1)

    def compare(self, truth: Tensor, prediction: Tensor) -> float:
        """Return the distance."""
        return 1 - float(torch.nn.functional.cosine_similarity(truth, prediction, dim=0))
