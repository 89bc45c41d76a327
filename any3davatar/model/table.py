"""What a network costs, counted by running it on tensors without storage.

``python -m any3davatar.model.table`` writes the table of ``docs/model.md``.
"""

import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from any3davatar.model.avatar import Any3DAvatar
from any3davatar.model.config import PRESETS, ModelConfig
from any3davatar.model.scaffold import placeholder_hull

GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What one portrait costs, batch 1, in float32.

    Attributes:
        parameters: trained numbers at inference, without `D_vae`.
        image_head_parameters: trained numbers of `D_vae`.
        tokens: length of the DiT's sequence.
        gaussians: N.
        forward_flops: operations of the matrix products of one visit, two for a multiply-add.
        image_head_flops: what `D_vae` adds to a visit.
        weight_bytes: size of the inference weights in float32.
        inference_bytes: peak of the activations alive at once in a visit without gradients.
        training_bytes: activations that a visit with `D_vae` and gradients leaves for its backward
            pass, rendering and losses not included.
        recomputed_bytes: the same where blocks are computed twice (``recompute_activations``).
    """

    parameters: int
    image_head_parameters: int
    tokens: int
    gaussians: int
    forward_flops: int
    image_head_flops: int
    weight_bytes: int
    inference_bytes: int
    training_bytes: int
    recomputed_bytes: int


@cache
def cost_of(config: ModelConfig) -> Cost:
    """Count what a network of this configuration costs; nothing is computed or stored."""
    inference = _count(config, image_head=False, gradients=False, recompute=False)
    training = _count(config, image_head=True, gradients=True, recompute=False)
    recomputed = _count(config, image_head=True, gradients=True, recompute=True)
    return Cost(
        parameters=inference.parameters,
        image_head_parameters=training.parameters - inference.parameters,
        tokens=config.tokens,
        gaussians=config.gaussians,
        forward_flops=inference.flops,
        image_head_flops=training.flops - inference.flops,
        weight_bytes=4 * inference.parameters,
        inference_bytes=inference.peak_bytes,
        training_bytes=training.left_bytes,
        recomputed_bytes=recomputed.left_bytes,
    )


def markdown(configs: Mapping[str, ModelConfig]) -> str:
    """Return the table of ``docs/model.md``, one row a configuration."""
    header = (
        "| preset | parameters | + `D_vae` | tokens | Gaussians | forward | + `D_vae` | weights "
        "| activations, inference | training | training, recomputed |"
    )
    lines = [header, "|---|" + "--:|" * (header.count("|") - 2)]
    for name, config in configs.items():
        cost = cost_of(config)
        lines.append(
            f"| `{name}` "
            f"| {cost.parameters / 1e6:.1f} M | {cost.image_head_parameters / 1e6:.1f} M "
            f"| {cost.tokens:,} | {cost.gaussians:,} "
            f"| {cost.forward_flops / 1e9:,.1f} GFLOP | {cost.image_head_flops / 1e9:,.1f} GFLOP "
            f"| {_size(cost.weight_bytes)} | {_size(cost.inference_bytes)} "
            f"| {_size(cost.training_bytes)} | {_size(cost.recomputed_bytes)} |"
        )
    return "\n".join(lines) + "\n"


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"


@dataclass(frozen=True)
class _Count:
    parameters: int
    flops: int
    peak_bytes: int
    left_bytes: int


class _Storages(TorchDispatchMode):
    """Follow the bytes of all tensors that operations make, from birth to death."""

    def __init__(self) -> None:
        super().__init__()
        self.alive_bytes = 0
        self.peak_bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self._follow(tensor)
        return result

    def ignore(self, tensor: Tensor) -> None:
        """Leave a tensor that existed before out of the count, and all views of it."""
        self._known.add(tensor.untyped_storage()._cdata)

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.alive_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive_bytes -= size


def _attention_flops(query: torch.Size, key: torch.Size, *_: Any, out_shape: Any, **__: Any) -> int:
    """Return the operations of both products of attention; torch counts them only for GPUs."""
    return 4 * query.numel() * key[-2]


def _count(config: ModelConfig, *, image_head: bool, gradients: bool, recompute: bool) -> _Count:
    hull = placeholder_hull(config) if config.hull_start else None
    with torch.device("meta"):
        model = Any3DAvatar(
            config, image_head=image_head, hull=hull, recompute_activations=recompute
        )
    # The CPU's fused attention is in the count: on "meta" itself torch would store T x T scores.
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    flops = FlopCounterMode(display=False, custom_mapping=fused)
    storages = _Storages()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.set_grad_enabled(gradients):
        model.to_empty(device="cpu")
        size = config.size_px
        inputs = (
            torch.empty(1, config.portrait_channels, size, size),
            torch.empty(1, 6, size, size),
            torch.empty(1, *model.state_shape),
            torch.empty(1),
        )
        for tensor in (*model.parameters(), *model.buffers(), *inputs):
            storages.ignore(tensor)
        with flops, storages:
            prediction = model(*inputs, decode_images=image_head)
            left_bytes = storages.alive_bytes
        del prediction
    return _Count(
        parameters=sum(p.numel() for p in model.parameters()),
        flops=flops.get_total_flops(),
        peak_bytes=storages.peak_bytes,
        left_bytes=left_bytes,
    )


if __name__ == "__main__":
    sys.stdout.write(markdown(PRESETS))
