"""Shape, dtype and device checks of the core types: one sentence an error."""

from collections.abc import Mapping

import torch
from torch import Tensor

from any3davatar.core.errors import InvalidInput

Dim = int | str  # a number is exact, a letter is free but must agree wherever it appears again


def check_shapes(
    owner: str, tensors: Mapping[str, tuple[Tensor, tuple[Dim, ...]]]
) -> tuple[int, ...]:
    """Check that tensors share their leading dimensions and end as stated.

    Args:
        owner: what is being built, for the message.
        tensors: name -> (tensor, trailing shape), for example ``{"means": (means, ("N", 3))}``.

    Returns:
        The common leading dimensions ``*b``.

    Raises:
        InvalidInput: not a floating-point tensor, a wrong trailing shape, or disagreement between
            two tensors about ``*b``, a letter, the dtype or the device.
    """
    letters: dict[str, tuple[int, str]] = {}
    leading: tuple[tuple[int, ...], str] | None = None
    first: tuple[Tensor, str] | None = None
    for name, (tensor, trailing) in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InvalidInput(f"{owner}.{name} must be a floating-point tensor; got {got}")
        expected = f"(*b, {', '.join(map(str, trailing))})"
        if tensor.ndim < len(trailing):
            raise InvalidInput(
                f"{owner}.{name} must have shape {expected}; got {tuple(tensor.shape)}"
            )
        ending = tensor.shape[tensor.ndim - len(trailing) :]
        for size, dim in zip(ending, trailing, strict=True):
            if isinstance(dim, int):
                if size != dim:
                    raise InvalidInput(
                        f"{owner}.{name} must have shape {expected}; got {tuple(tensor.shape)}"
                    )
            elif letters.setdefault(dim, (size, name))[0] != size:
                raise InvalidInput(
                    f"{owner}.{name} has {dim} = {size} but {owner}.{letters[dim][1]} has "
                    f"{dim} = {letters[dim][0]}"
                )
        batch = tuple(tensor.shape[: tensor.ndim - len(trailing)])
        if leading is None:
            leading = (batch, name)
        elif leading[0] != batch:
            raise InvalidInput(
                f"{owner}.{name} has leading dimensions {batch} but {owner}.{leading[1]} has "
                f"{leading[0]}; they must agree (expand explicitly)"
            )
        if first is None:
            first = (tensor, name)
        elif (tensor.dtype, tensor.device) != (first[0].dtype, first[0].device):
            raise InvalidInput(
                f"{owner}.{name} is {tensor.dtype} on {tensor.device} but {owner}.{first[1]} is "
                f"{first[0].dtype} on {first[0].device}; move both to one dtype and device"
            )
    assert leading is not None
    return leading[0]


def check_finite(owner: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise `InvalidInput` naming the first non-finite value of the first tensor that has one."""
    for name, tensor in tensors.items():
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            index = tuple(int(i) for i in torch.nonzero(~finite)[0])
            raise InvalidInput(
                f"{owner}.{name}{list(index)} is {float(tensor[index])}; all values must be finite "
                f"({int((~finite).sum())} of {tensor.numel()} are not)"
            )
