import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from any3davatar.core.rotations import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    multiply_quaternions,
    quaternion_to_matrix,
)


def random_unit_quaternions(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    quats = torch.randn(*shape, 4, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(quats, dim=-1)


def test_quaternion_to_matrix_equals_scipy() -> None:
    quats = random_unit_quaternions(50)
    xyzw = quats[:, [1, 2, 3, 0]].numpy()
    expected = torch.from_numpy(Rotation.from_quat(xyzw).as_matrix())
    torch.testing.assert_close(quaternion_to_matrix(quats), expected, atol=1e-14, rtol=0)


def test_matrix_to_quaternion_inverts_quaternion_to_matrix_up_to_sign() -> None:
    quats = random_unit_quaternions(3, 200)
    back = matrix_to_quaternion(quaternion_to_matrix(quats))
    aligned = back * torch.sign((back * quats).sum(-1, keepdim=True))
    torch.testing.assert_close(aligned, quats, atol=1e-12, rtol=0)
    assert bool((back[..., 0] >= 0).all())


@pytest.mark.parametrize("axis", [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.0, 1.0, 0)])
def test_half_turns_survive_although_w_is_zero(axis: tuple[float, float, float]) -> None:
    matrix = axis_angle_to_matrix(torch.tensor(axis), torch.tensor(math.pi))
    again = quaternion_to_matrix(matrix_to_quaternion(matrix))
    torch.testing.assert_close(again, matrix, atol=1e-6, rtol=0)  # float32


def test_product_of_quaternions_is_product_of_matrices() -> None:
    a, b = random_unit_quaternions(2, 40)
    product = quaternion_to_matrix(multiply_quaternions(a, b))
    expected = quaternion_to_matrix(a) @ quaternion_to_matrix(b)
    torch.testing.assert_close(product, expected, atol=1e-14, rtol=0)


def test_axis_angle_follows_the_right_hand_rule() -> None:
    quarter = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 2.0]), torch.tensor(math.pi / 2))
    turned = quarter @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
