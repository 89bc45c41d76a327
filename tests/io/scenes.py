"""Small scenes and pictures without any symmetry: a swapped axis or channel changes them."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from any3davatar.core import Gaussians


def some_gaussians(n: int, degree: int, seed: int = 0) -> Gaussians:
    """Gaussians of head-like sizes, off-centre, with colours inside every format's range."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    coefficients = (degree + 1) ** 2
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=-1)
    sh = (uniform(n, coefficients, 3) - 0.5) * torch.linspace(1.4, 0.4, coefficients)[:, None]
    return Gaussians(
        means=uniform(n, 3) * torch.tensor([0.5, 0.9, 0.7]) + torch.tensor([0.1, -0.2, 0.05]),
        quats=quats,
        scales=torch.exp(uniform(n, 3) * 3 - torch.tensor([7.0, 6.0, 5.0])),
        opacities=uniform(n) * 0.96 + 0.02,
        sh=sh,
    )


def with_opacities(gaussians: Gaussians, values: list[float]) -> Gaussians:
    return replace(gaussians, opacities=torch.tensor(values))


def assert_equal(got: Gaussians, expected: Gaussians) -> None:
    for name, tensor in expected.tensors().items():
        torch.testing.assert_close(getattr(got, name), tensor, rtol=0, atol=0, msg=name)


def turn_between_deg(left: Tensor, right: Tensor) -> Tensor:
    """Angles of the rotations that take one set of unit quaternions to another."""
    dots = (left.double() * right.double()).sum(-1).abs().clamp(max=1)
    return torch.rad2deg(2 * torch.arccos(dots))


def some_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    """A picture of gradients and noise, every channel different, no symmetry."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.linspace(0, 1, height)[:, None].expand(height, width)
    x = torch.linspace(0, 1, width).expand(height, width)
    noise = torch.rand(channels, height, width, generator=generator)
    base = torch.stack([x, y**2, 1 - x * y, 0.5 * (x + y)])[:channels]
    return 0.8 * base + 0.2 * noise


def levels(picture: Tensor, bits: int) -> np.ndarray:
    """The integers that a file of this many bits should hold, channels last."""
    top = 2**bits - 1
    scaled = picture.double().clamp(0, 1).numpy() * np.float64(top)
    return np.moveaxis(np.rint(scaled), 0, -1).astype(np.uint16 if bits == 16 else np.uint8)
