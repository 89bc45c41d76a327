"""Rotations: unit quaternions (w, x, y, z), matrices, and axis-angle. All act on column vectors."""

import torch
from jaxtyping import Float
from torch import Tensor


def quaternion_to_matrix(quats: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Turn unit quaternions (w, x, y, z) into rotation matrices. The input is not normalised."""
    w, x, y, z = quats.unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def matrix_to_quaternion(rotations: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Turn rotation matrices into unit quaternions (w, x, y, z) with w >= 0.

    Each of the four components can be read from the diagonal; the largest is the
    well-conditioned one, and the others follow from it (Shepperd, 1978).
    """
    m = rotations
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Row i holds the quaternion times 4 q_i.
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    xy, xz, yz = (
        m[..., 1, 0] + m[..., 0, 1],
        m[..., 2, 0] + m[..., 0, 2],
        m[..., 2, 1] + m[..., 1, 2],
    )
    candidates = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, wx, wy, wz], dim=-1),
            torch.stack([wx, 1 + xx - yy - zz, xy, xz], dim=-1),
            torch.stack([wy, xy, 1 - xx + yy - zz, yz], dim=-1),
            torch.stack([wz, xz, yz, 1 - xx - yy + zz], dim=-1),
        ],
        dim=-2,
    )  # (*b, 4, 4)
    largest = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(dim=-1)  # (*b,)
    rows = torch.take_along_dim(candidates, largest[..., None, None], dim=-2).squeeze(-2)
    quats = torch.nn.functional.normalize(rows, dim=-1)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def multiply_quaternions(
    left: Float[Tensor, "*#b 4"], right: Float[Tensor, "*#b 4"]
) -> Float[Tensor, "*b 4"]:
    """Return the Hamilton product: the rotation `right` followed by the rotation `left`."""
    aw, ax, ay, az = left.unbind(-1)
    bw, bx, by, bz = right.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def axis_angle_to_matrix(
    axis: Float[Tensor, "*b 3"], angle_rad: Float[Tensor, "*b"]
) -> Float[Tensor, "*b 3 3"]:
    """Return rotations by `angle_rad` about `axis` (any non-zero length), right-hand rule."""
    half = angle_rad[..., None] / 2
    unit = torch.nn.functional.normalize(axis, dim=-1)
    return quaternion_to_matrix(torch.cat([half.cos(), half.sin() * unit], dim=-1))
