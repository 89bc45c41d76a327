import struct
from pathlib import Path

import pytest
import torch

from any3davatar.core import Gaussians
from any3davatar.core.sh import C0
from any3davatar.io import BadRows, FormatError, read_splat, write_splat
from tests.io.scenes import some_gaussians, turn_between_deg


def test_golden_bytes_both_ways(tmp_path: Path) -> None:
    row = struct.pack("<6f8B", 1, 2, 3, 0.5, 0.25, 0.125, 255, 0, 51, 204, 128, 128, 0, 128)
    path = tmp_path / "a.splat"
    path.write_bytes(row)
    got = read_splat(path).validate()
    assert got.means.tolist() == [[1, 2, 3]]
    assert got.scales.tolist() == [[0.5, 0.25, 0.125]]
    assert got.quats.tolist() == [[0, 0, -1, 0]]
    torch.testing.assert_close(got.opacities, torch.tensor([0.8]))
    rgb = got.sh[0, 0] * C0 + 0.5
    torch.testing.assert_close(rgb, torch.tensor([1.0, 0.0, 0.2]), atol=1e-6, rtol=0)
    write_splat(tmp_path / "b.splat", got)
    assert (tmp_path / "b.splat").read_bytes() == row


def test_round_trip_within_the_bytes(tmp_path: Path) -> None:
    gaussians = some_gaussians(500, 0)
    write_splat(tmp_path / "a.splat", gaussians)
    got = read_splat(tmp_path / "a.splat").validate()
    order = torch.argsort(-gaussians.scales.double().prod(dim=1) * gaussians.opacities, stable=True)
    gaussians = gaussians.select(order)
    assert torch.equal(got.means, gaussians.means)
    assert torch.equal(got.scales, gaussians.scales)
    # half a step of 1/255, in coefficients 1 / C0 times as much
    torch.testing.assert_close(got.opacities, gaussians.opacities, rtol=0, atol=0.5001 / 255)
    torch.testing.assert_close(got.sh, gaussians.sh, rtol=0, atol=0.5001 / 255 / C0)
    # four components, each off by at most 1/256 (1/128 at +1): |dq| < 0.009, twice that in angle
    assert float(turn_between_deg(got.quats, gaussians.quats).max()) < 1.1


def test_identity_survives_although_a_byte_has_no_plus_one(tmp_path: Path) -> None:
    gaussians = some_gaussians(1, 0)
    still = Gaussians(**gaussians.tensors() | {"quats": torch.tensor([[1.0, 0, 0, 0]])})
    write_splat(tmp_path / "a.splat", still)
    assert read_splat(tmp_path / "a.splat").quats.tolist() == [[1, 0, 0, 0]]


def test_view_dependence_is_not_dropped_silently(tmp_path: Path) -> None:
    gaussians = some_gaussians(4, 2)
    with pytest.raises(FormatError, match=r"got SH degree 2; pass gaussians.with_sh_degree\(0\)"):
        write_splat(tmp_path / "a.splat", gaussians)
    assert list(tmp_path.iterdir()) == []
    write_splat(tmp_path / "a.splat", gaussians.with_sh_degree(0).with_sh_degree(3))  # all zero
    assert read_splat(tmp_path / "a.splat").count == 4


def test_no_gaussians_are_an_empty_file(tmp_path: Path) -> None:
    write_splat(tmp_path / "a.splat", some_gaussians(0, 0))
    assert (tmp_path / "a.splat").read_bytes() == b""
    assert read_splat(tmp_path / "a.splat").count == 0


def test_damage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.splat"
    path.write_bytes(bytes(33))
    with pytest.raises(FormatError, match="got 33 bytes, expected a multiple of 32"):
        read_splat(path)
    good = struct.pack("<6f8B", 1, 2, 3, 1, 1, 1, 0, 0, 0, 255, 255, 128, 128, 128)
    unturned = struct.pack("<6f8B", 1, 2, 3, 1, 1, 1, 0, 0, 0, 255, 128, 128, 128, 128)
    flat = struct.pack("<6f8B", 1, 2, 3, 1, 0, 1, 0, 0, 0, 255, 255, 128, 128, 128)
    path.write_bytes(good + unturned + flat)
    with pytest.raises(
        FormatError, match=r"2 of 3 rows .* 1 with a zero quaternion, 1 with a scale"
    ):
        read_splat(path)
    assert read_splat(path, on_bad_rows=BadRows.DROP).count == 1
