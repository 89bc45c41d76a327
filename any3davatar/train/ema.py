"""The exponential moving average of the weights: what is evaluated and shipped."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An average beside a network, in the network's own layout (whole, or this process's shards).

    Args:
        network: whose weights are averaged; the average starts at them.
    """

    def __init__(self, network: nn.Module) -> None:
        self._weights = {
            name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Move the average toward the weights: ``average = decay average + (1 - decay) w``."""
        for name, p in self._parameters(network):
            self._weights[name].lerp_(p, 1 - decay)

    @torch.no_grad()
    def assign(self, network: nn.Module) -> None:
        """Set the average to the network's present weights."""
        for name, p in self._parameters(network):
            self._weights[name].copy_(p)

    @contextmanager
    def inside(self, network: nn.Module) -> Iterator[None]:
        """Put the average in the network's place while the block runs."""
        weights = {name: p.detach().clone() for name, p in self._parameters(network)}
        try:
            self._copy(self._weights, network)
            yield
        finally:
            self._copy(weights, network)

    @torch.no_grad()
    def _copy(self, source: dict[str, Tensor], network: nn.Module) -> None:
        for name, p in self._parameters(network):
            p.copy_(source[name])

    def _parameters(self, network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in network.named_parameters() if name in self._weights)
