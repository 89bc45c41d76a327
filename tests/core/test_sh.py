import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from any3davatar.core import InvalidInput
from any3davatar.core.rotations import quaternion_to_matrix
from any3davatar.core.sh import (
    degree_of,
    rgb_to_sh0,
    sh_basis,
    sh_rotation,
    sh_to_rgb,
)


def directions(n: int, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(
        torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1
    )


def test_basis_equals_real_harmonics_built_from_scipy() -> None:
    d = directions(64)
    x, y, z = d.numpy().T
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    expected = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, azimuth)
            if order == 0:
                expected.append(value.real)
            else:
                # 3DGS keeps the Condon-Shortley sign that scipy's functions carry.
                part = value.imag if order < 0 else value.real
                expected.append(math.sqrt(2) * part)
    np.testing.assert_allclose(sh_basis(3, d).numpy(), np.stack(expected, -1), atol=1e-13)


def test_basis_is_orthonormal_over_the_sphere() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(8)
    azimuth = np.arange(16) * 2 * np.pi / 16
    z, a = np.meshgrid(nodes, azimuth, indexing="ij")
    r = np.sqrt(1 - z * z)
    d = torch.from_numpy(np.stack([r * np.cos(a), r * np.sin(a), z], -1).reshape(-1, 3))
    w = torch.from_numpy(np.repeat(weights, 16) * 2 * np.pi / 16)
    basis = sh_basis(3, d)
    gram = basis.T @ (basis * w[:, None])
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), atol=1e-12, rtol=0)


def test_basis_equals_gsplat() -> None:
    from gsplat.cuda._torch_impl import _eval_sh_bases_fast

    d = directions(40)
    ours, theirs = sh_basis(3, d), _eval_sh_bases_fast(16, d)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotated_coefficients_show_the_rotated_function(degree: int) -> None:
    generator = torch.Generator().manual_seed(degree)
    quat = torch.randn(4, generator=generator, dtype=torch.float64)
    rotation = quaternion_to_matrix(torch.nn.functional.normalize(quat, dim=0))
    sh = torch.randn((degree + 1) ** 2, 3, generator=generator, dtype=torch.float64)
    d = directions(32)
    turned = sh_basis(degree, d @ rotation.T) @ (sh_rotation(degree, rotation) @ sh)
    torch.testing.assert_close(turned, sh_basis(degree, d) @ sh, atol=1e-12, rtol=0)


def test_degree_zero_shows_its_rgb_from_everywhere() -> None:
    rgb = torch.tensor([[0.1, 0.5, 0.9]], dtype=torch.float64)
    shown = sh_to_rgb(rgb_to_sh0(rgb).expand(16, 1, 3), directions(16))
    torch.testing.assert_close(shown, rgb.expand(16, 3), atol=1e-14, rtol=0)


def test_colours_are_clamped_below_but_not_above() -> None:
    sh = torch.tensor([[[-10.0, 0.0, 10.0]]])
    shown = sh_to_rgb(sh, torch.tensor([[0.0, 0.0, 1.0]]))
    assert shown[0, 0] == 0
    assert shown[0, 1] == 0.5
    assert shown[0, 2] > 1


@pytest.mark.parametrize("n", [0, 2, 3, 5, 15, 25])
def test_other_numbers_of_coefficients_are_refused(n: int) -> None:
    with pytest.raises(InvalidInput, match=rf"must number 1, 4, 9 or 16; got {n}"):
        degree_of(n)
