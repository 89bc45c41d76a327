"""What every backend demands of its arguments, checked in one place."""

import torch
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.core.sh import degree_of


def check_arguments(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor | None,
    sh: Tensor | None,
    world_to_camera: Tensor,
    K: Tensor,
    background: Tensor,
    width: int,
    height: int,
) -> None:
    """Check shapes, dtypes, devices and finiteness of what `rasterize` is given.

    Raises:
        InvalidInput: names the argument, what it is and what it must be.
    """
    check_layout(
        means, quats, scales, opacities, colors, sh, world_to_camera, K, background, width, height
    )
    check_cameras(world_to_camera, K)
    check_values(means, quats, scales, opacities, colors, sh, background)


def check_layout(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor | None,
    sh: Tensor | None,
    world_to_camera: Tensor,
    K: Tensor,
    background: Tensor,
    width: int,
    height: int,
) -> None:
    """Check everything that can be checked without reading a value."""
    if (colors is None) == (sh is None):
        raise InvalidInput("rasterize takes exactly one of colors and sh")
    if width < 1 or height < 1:
        raise InvalidInput(f"a picture has at least 1 x 1 pixels; got {width} x {height}")
    if means.ndim != 3 or world_to_camera.ndim != 4:
        raise InvalidInput(
            "means must be (B, N, 3) and world_to_camera (B, V, 4, 4); got "
            f"{tuple(means.shape)} and {tuple(world_to_camera.shape)}"
        )
    b, n = means.shape[:2]
    v = world_to_camera.shape[1]
    if sh is not None:
        if sh.ndim != 4:
            raise InvalidInput(f"sh must be (B, N, K, 3); got {tuple(sh.shape)}")
        degree_of(sh.shape[2])
        d = 3
    else:
        assert colors is not None
        d = colors.shape[-1]
    expected: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "means": (means, (b, n, 3)),
        "quats": (quats, (b, n, 4)),
        "scales": (scales, (b, n, 3)),
        "opacities": (opacities, (b, n)),
        "world_to_camera": (world_to_camera, (b, v, 4, 4)),
        "K": (K, (b, v, 3, 3)),
        "background": (background, (b, v, d)),
    }
    if sh is not None:
        expected["sh"] = (sh, (b, n, sh.shape[2], 3))
    if colors is not None:
        expected["colors"] = (colors, (b, n, d))
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise InvalidInput(f"{name} must have shape {shape}; got {tuple(tensor.shape)}")
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise InvalidInput(
                f"{name} is {tensor.dtype} on {tensor.device} but means is {means.dtype} on "
                f"{means.device}; move both to one dtype and device"
            )
    for name, tensor in (("world_to_camera", world_to_camera), ("K", K)):
        if tensor.requires_grad:
            raise InvalidInput(
                f"{name} requires a gradient, but no gradient flows to cameras: detach it"
            )


def check_cameras(world_to_camera: Tensor, K: Tensor) -> None:
    """Check the values of the cameras: few numbers, so always."""
    for name, tensor in (("world_to_camera", world_to_camera), ("K", K)):
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidInput(f"{name} must be finite; got {float(tensor.sum())} among its values")
    if bool(((K[..., 0, 0] <= 0) | (K[..., 1, 1] <= 0)).any()):
        raise InvalidInput("K must have positive focal lengths fx = K[0, 0] and fy = K[1, 1]")
    expected_rest = K.new_tensor([0.0, 0.0, 0.0, 0.0, 1.0])
    rest = torch.stack([K[..., 0, 1], K[..., 1, 0], K[..., 2, 0], K[..., 2, 1], K[..., 2, 2]], -1)
    if not torch.equal(rest, expected_rest.expand_as(rest)):
        raise InvalidInput("K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] (no skew)")


def check_values(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor | None,
    sh: Tensor | None,
    background: Tensor,
) -> None:
    """Check the values of the Gaussians: one pass over all of them."""
    named = {"means": means, "quats": quats, "scales": scales, "opacities": opacities}
    named |= {"colors": colors} if colors is not None else {}
    named |= {"sh": sh} if sh is not None else {}
    for name, tensor in (named | {"background": background}).items():
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            raise non_finite(name, tuple(int(i) for i in (~finite).nonzero()[0]))
    lengthless = (quats == 0).all(-1)
    if bool(lengthless.any()):
        raise zero_quaternion(tuple(int(i) for i in lengthless.nonzero()[0]))


def non_finite(name: str, index: tuple[int, ...]) -> InvalidInput:
    """Return the error for a value that is NaN or infinite."""
    return InvalidInput(
        f"{name}{list(index)} is not finite; a render needs finite values. Look for a diverged "
        "optimisation or a damaged file"
    )


def zero_quaternion(index: tuple[int, ...]) -> InvalidInput:
    """Return the error for a quaternion without direction."""
    return InvalidInput(f"quats{list(index)} is all zero: it names no rotation")
