"""SPZ files: golden payloads packed here by hand, gsply as another author, bounded unpacking."""

import gzip
import math
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from any3davatar.core import Gaussians, InvalidInput
from any3davatar.io import FormatError, read_spz, write_spz
from tests.io.scenes import some_gaussians, turn_between_deg


def payload(version: int, n: int, degree: int, bits: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("<4sIIBBBB", b"NGSP", version, n, degree, bits, flags, 0) + body


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, mtime=0))
    return path


POSITION = {1: struct.pack("<3e", 0.5, -1.25, 2.0), 2: bytes([0, 8, 0, 0, 236, 255, 0, 32, 0])}
ATTRIBUTES = bytes([51]) + bytes([255, 0, 128]) + bytes([160, 144, 128])
TURN = {2: bytes([255, 128, 128]), 3: struct.pack("<I", (3 << 30) | (511 << 20) | (1 << 9))}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_golden_payload(tmp_path: Path, version: int) -> None:
    body = POSITION[min(version, 2)] + ATTRIBUTES + TURN[max(version, 2)]
    body += bytes([192, 128, 0] * 3)  # degree 1: r = 0.5, g = 0, b = -1 in all three coefficients
    got = read_spz(save(tmp_path / "a.spz", payload(version, 1, 1, 12, body)))
    assert got.means.tolist() == [[0.5, -1.25, 2.0]]  # 12 fractional bits: 2048, -5120, 8192
    assert got.opacities.tolist() == [np.float32(0.2)]
    torch.testing.assert_close(got.scales, torch.exp(torch.tensor([[0.0, -1.0, -2.0]])))
    base = torch.tensor([0.5, -0.5, 128 / 255 - 0.5]) / 0.15
    torch.testing.assert_close(got.sh[0, 0], base)
    assert got.sh[0, 1:].tolist() == [[0.5, 0.0, -1.0]] * 3
    half = math.sqrt(0.5)
    turn = [half, half, 0.0, 0.0] if version == 3 else [0.0, 1.0, 0.0, 0.0]
    # version 2: y and z of 128 are 1/255 and not 0
    torch.testing.assert_close(got.quats, torch.tensor([turn]), atol=0.006, rtol=0)


def test_written_bytes_are_as_specified(tmp_path: Path) -> None:
    gaussians = Gaussians(
        means=torch.tensor([[0.5, -1.25, 2.0]]),
        quats=torch.tensor([[0.0, -1.0, 0.0, 0.0]]),
        scales=torch.exp(torch.tensor([[0.0, -1.0, -2.0]])),
        opacities=torch.tensor([0.2]),
        sh=torch.tensor([[[10 / 3, -10 / 3, 0.0], [0.5, 0, -1], [0.5, 0, -1], [0.5, 0, -1]]]),
    )
    write_spz(tmp_path / "a.spz", gaussians, version=2)
    positions = b"".join(struct.pack("<i", round(x * 2**16))[:3] for x in (0.5, -1.25, 2.0))
    body = positions + bytes([51, 255, 0, 128, 160, 144, 128]) + bytes([0, 128, 128])
    body += bytes([192, 128, 0] * 3)
    content = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert content == payload(2, 1, 1, 16, body)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip_within_the_quantisation(
    tmp_path: Path, degree: int, version: Literal[2, 3]
) -> None:
    gaussians = some_gaussians(3000, degree)
    write_spz(tmp_path / "a.spz", gaussians, version=version)
    got = read_spz(tmp_path / "a.spz").validate()
    # Half a step of each column's numbers, as the writer's docstring states.
    torch.testing.assert_close(got.means, gaussians.means, rtol=0, atol=2**-17 + 1e-9)
    torch.testing.assert_close(got.scales.log(), gaussians.scales.log(), rtol=0, atol=1.001 / 32)
    torch.testing.assert_close(got.opacities, gaussians.opacities, rtol=0, atol=0.5001 / 255)
    base, higher = slice(0, 1), slice(1, None)
    step = 1 / 255 / 0.15
    torch.testing.assert_close(got.sh[:, base], gaussians.sh[:, base], rtol=0, atol=0.501 * step)
    torch.testing.assert_close(got.sh[:, higher], gaussians.sh[:, higher], rtol=0, atol=0.501 / 128)
    error = turn_between_deg(got.quats, gaussians.quats)
    small = gaussians.quats[:, 0].abs() > 0.5
    assert float(error.max()) < (14.0 if version == 2 else 0.25)
    assert float(error[small].max()) < (1.5 if version == 2 else 0.25)


def test_gsply_agrees_with_us_both_ways(tmp_path: Path) -> None:
    gsply_spz = pytest.importorskip("gsply.spz")
    gaussians = some_gaussians(200, 3)
    versions: tuple[Literal[2, 3], ...] = (2, 3)
    for version in versions:
        write_spz(tmp_path / "a.spz", gaussians, version=version)
        compare(read_spz(tmp_path / "a.spz"), gsply_spz.read_spz(tmp_path / "a.spz"))
    gsply_spz.write_spz(tmp_path / "b.spz", gsply_spz.read_spz(tmp_path / "a.spz"))
    compare(read_spz(tmp_path / "b.spz"), gsply_spz.read_spz(tmp_path / "b.spz"))


def compare(ours: Gaussians, theirs: Any) -> None:
    """Both read the same bytes: only float32 arithmetic may differ."""
    np.testing.assert_allclose(ours.means, theirs.means, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(ours.scales, np.exp(theirs.scales), rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(
        ours.opacities, 1 / (1 + np.exp(-theirs.opacities)), rtol=1e-5, atol=2e-6
    )
    np.testing.assert_allclose(ours.sh[:, 0], theirs.sh0, rtol=1e-5, atol=2e-6)
    if ours.sh_degree:
        np.testing.assert_allclose(ours.sh[:, 1:], theirs.shN, rtol=1e-5, atol=2e-6)
    unit = theirs.quats / np.linalg.norm(theirs.quats, axis=1, keepdims=True)
    # Version 2 allows |x, y, z| slightly above 1; then both readers set w to 0.
    np.testing.assert_allclose((ours.quats.numpy() * unit).sum(-1), 1, atol=1e-5)


def test_equal_sets_give_equal_bytes(tmp_path: Path) -> None:
    gaussians = some_gaussians(100, 1)
    write_spz(tmp_path / "a.spz", gaussians)
    write_spz(tmp_path / "b.spz", gaussians)
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()


def test_far_positions_cost_fractional_bits(tmp_path: Path) -> None:
    gaussians = some_gaussians(10, 0)
    far = replace(gaussians, means=gaussians.means * 1e5)
    write_spz(tmp_path / "a.spz", far)
    # The farthest is below 1.1e5 < 2^17, so 6 of 23 bits are left: half of 1/64.
    torch.testing.assert_close(read_spz(tmp_path / "a.spz").means, far.means, rtol=0, atol=1 / 128)
    with pytest.raises(InvalidInput, match="SPZ holds positions up to 4194303 units; got"):
        write_spz(tmp_path / "b.spz", replace(gaussians, means=gaussians.means * 1e9))


@pytest.mark.border
def test_other_versions_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="written in version 2 or 3; got 4"):
        write_spz(tmp_path / "a.spz", some_gaussians(1, 0), version=4)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("version", [2, 3])
def test_no_gaussians(tmp_path: Path, version: Literal[2, 3]) -> None:
    write_spz(tmp_path / "a.spz", some_gaussians(0, 2), version=version)
    got = read_spz(tmp_path / "a.spz")
    assert (got.count, got.sh_degree) == (0, 2)


def test_extensions_are_passed_over_only_when_announced(tmp_path: Path) -> None:
    body = POSITION[2] + ATTRIBUTES + TURN[2]
    announced = payload(2, 1, 0, 12, body + b"extension", flags=2)
    assert read_spz(save(tmp_path / "a.spz", announced)).count == 1
    with pytest.raises(FormatError, match="got 19 bytes and 9 after them"):
        read_spz(save(tmp_path / "a.spz", payload(2, 1, 0, 12, body + b"extension")))


BODY = POSITION[2] + ATTRIBUTES + TURN[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (payload(2, 2, 0, 12, BODY), r"promises 2 Gaussians \(38 bytes\), got 19 bytes"),
        (payload(2, 2**32 - 1, 3, 12, BODY), "promises 4294967295 Gaussians .* header lies"),
        (payload(2, 1, 4, 12, BODY), "got SH degree 4 and 12 fractional bits"),
        (payload(2, 1, 0, 25, BODY), "25 fractional bits, expected 0 to 3 and 1 to 24"),
        (payload(9, 1, 0, 12, BODY), r"version 9; expected b'NGSP', version 1, 2 or 3"),
        (b"hello, this is another file", "Is this another gzip file"),
        (b"hello", "got 5 bytes of SPZ header, expected 16"),
    ],
)
def test_damaged_payloads_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_spz(save(tmp_path / "a.spz", content))


def test_damaged_streams_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.spz", payload(2, 1, 0, 12, BODY))
    good = path.read_bytes()
    for content, message in [
        (good[:-9], "truncated"),
        (good[:-5] + b"\0" + good[-4:], "not a readable gzip stream .*incorrect data check"),
        (good + b"more", "4 bytes follow the SPZ stream"),
        (b"", "got 0 bytes of SPZ header"),
        (b"NGSP" + bytes(28), "SPZ version 4 or later"),
        (b"ply\n", "not a readable gzip stream"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FormatError, match=message):
            read_spz(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(payload(2, 1, 0, 12, BODY + bytes(1 << 26)))  # 64 MiB of zeros
    (tmp_path / "a.spz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="and 1048576 after them"):
            read_spz(tmp_path / "a.spz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20  # the file itself, and the 1 MiB that extensions may take
