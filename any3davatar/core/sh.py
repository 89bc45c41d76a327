"""Real spherical harmonics up to degree 3, as 3D Gaussian splatting stores colour.

The basis has the order and the signs of the original 3DGS release (Kerbl et al., 2023; also
gsplat): coefficient ``l * l + l + m``. A Gaussian's colour seen along the unit direction ``d``
(from the camera centre to the Gaussian) is ``max(0, 0.5 + sum_k sh[k] * basis_k(d))``.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.errors import InvalidInput

DEGREE_MAX = 3
C0 = 0.5 / math.sqrt(math.pi)
_C1 = math.sqrt(3 / (4 * math.pi))
_C2_XY = math.sqrt(15 / (4 * math.pi))
_C2_ZZ = math.sqrt(5 / (16 * math.pi))
_C3_3 = math.sqrt(35 / (32 * math.pi))
_C3_2 = math.sqrt(105 / (4 * math.pi))
_C3_1 = math.sqrt(21 / (32 * math.pi))
_C3_0 = math.sqrt(7 / (16 * math.pi))


def degree_of(n_coefficients: int) -> int:
    """Return the degree that has this many coefficients: 1, 4, 9, 16 -> 0, 1, 2, 3."""
    degree = math.isqrt(max(n_coefficients, 0)) - 1
    if not 0 <= degree <= DEGREE_MAX or (degree + 1) ** 2 != n_coefficients:
        raise InvalidInput(f"SH coefficients must number 1, 4, 9 or 16; got {n_coefficients}")
    return degree


def sh_basis(degree: int, directions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b K"]:
    """Evaluate all basis functions up to `degree` at unit `directions`."""
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, C0)]
    if degree >= 1:
        basis += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        basis += [
            _C2_XY * x * y,
            -_C2_XY * y * z,
            _C2_ZZ * (2 * z * z - x * x - y * y),
            -_C2_XY * x * z,
            _C2_XY / 2 * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -_C3_3 * y * (3 * x * x - y * y),
            _C3_2 * x * y * z,
            -_C3_1 * y * (4 * z * z - x * x - y * y),
            _C3_0 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -_C3_1 * x * (4 * z * z - x * x - y * y),
            _C3_2 / 2 * z * (x * x - y * y),
            -_C3_3 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, dim=-1)


def sh_to_rgb(
    sh: Float[Tensor, "*#b K 3"], directions: Float[Tensor, "*#b 3"]
) -> Float[Tensor, "*b 3"]:
    """Return the colours that coefficients show along unit `directions`: >= 0, no upper bound."""
    basis = sh_basis(degree_of(sh.shape[-2]), directions)
    return ((sh * basis[..., None]).sum(dim=-2) + 0.5).clamp_min(0)


def rgb_to_sh0(rgb: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 1 3"]:
    """Return the degree-0 coefficients whose colour from every side is `rgb`."""
    return ((rgb - 0.5) / C0)[..., None, :]


@lru_cache(maxsize=1)
def _probe_directions() -> Float[Tensor, "M 3"]:
    """Directions spread over the sphere (a Fibonacci lattice), enough to pin down degree 3."""
    k = torch.arange(64, dtype=torch.float64)
    z = 1 - (2 * k + 1) / 64
    azimuth = k * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), z], dim=-1)


def sh_rotation(degree: int, rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "K K"]:
    """Return the matrix that turns coefficients when the scene is turned by `rotation`.

    Rotating a function moves its value: ``f'(d) = f(R^T d)``. Each degree is closed under
    rotation, so its block is the exact solution of ``Y(d) M = Y(R^T d)`` over enough directions.
    """
    directions = _probe_directions().to(rotation.device)
    before = sh_basis(degree, directions)
    after = sh_basis(degree, directions @ rotation.to(torch.float64))
    matrix = torch.zeros(before.shape[-1], before.shape[-1], dtype=torch.float64)
    matrix = matrix.to(rotation.device)
    for band in range(degree + 1):
        block = slice(band * band, (band + 1) ** 2)
        matrix[block, block] = torch.linalg.pinv(before[:, block]) @ after[:, block]
    return matrix.to(rotation.dtype)
