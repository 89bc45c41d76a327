"""The suffix decides; lossless tensors; what `gaussian_file_info` says."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from any3davatar.core import Gaussians, InvalidInput
from any3davatar.io import (
    GAUSSIAN_FORMATS,
    BadRows,
    ColorRule,
    FormatError,
    gaussian_file_info,
    read_gaussian_tensors,
    read_gaussians,
    write_gaussian_tensors,
    write_gaussians,
)
from tests.io.scenes import assert_equal, some_gaussians


@pytest.mark.parametrize("suffix", [*GAUSSIAN_FORMATS, ".PLY"])
def test_every_format_keeps_positions_and_shapes(tmp_path: Path, suffix: str) -> None:
    gaussians = some_gaussians(40, 0)
    path = tmp_path / f"head{suffix}"
    write_gaussians(path, gaussians)
    got = read_gaussians(path, on_bad_rows=BadRows.DROP).validate()
    nearest = torch.cdist(gaussians.means.double(), got.means.double()).min(dim=1)
    assert sorted(nearest.indices.tolist()) == list(range(40))
    assert float(nearest.values.max()) < 2e-5  # SPZ's 2^-17 a coordinate is the coarsest
    info = gaussian_file_info(path)
    assert (info.count, info.bad_rows, info.sh_degree) == (40, 0, 0)
    assert info.size_bytes == path.stat().st_size
    assert info.bounds_min == pytest.approx(gaussians.means.min(dim=0).values.tolist(), abs=1e-5)
    assert info.bounds_max == pytest.approx(gaussians.means.max(dim=0).values.tolist(), abs=1e-5)
    assert info.opacity_quantiles is not None
    assert info.opacity_quantiles[2] == pytest.approx(
        float(gaussians.opacities.quantile(0.5)), abs=1 / 255
    )
    assert info.scale_quantiles is not None
    assert info.scale_quantiles[4] == pytest.approx(float(gaussians.scales.max()), rel=0.033)


@pytest.mark.parametrize("suffix", GAUSSIAN_FORMATS)
def test_zero_gaussians_are_legal(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"none{suffix}"
    write_gaussians(path, some_gaussians(0, 0))
    assert read_gaussians(path).count == 0
    info = gaussian_file_info(path)
    assert (info.count, info.bounds_min, info.scale_quantiles) == (0, None, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "a.spl",
            r"a\.spl: got the suffix '.spl', expected one of .ply, .splat, .spz, .safetensors",
        ),
        ("a.plyy", "did you mean .ply?"),
        ("a.safetensor", "did you mean .safetensors?"),
        ("a", "got the suffix ''.*rename or convert"),
    ],
)
def test_unknown_suffixes_get_a_suggestion(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_gaussians(tmp_path / name)
    with pytest.raises(FormatError, match=message):
        write_gaussians(tmp_path / name, some_gaussians(1, 0))
    with pytest.raises(FormatError, match=message):
        gaussian_file_info(tmp_path / name)


def test_the_colour_rule_is_for_ply_only(tmp_path: Path) -> None:
    write_gaussians(tmp_path / "a.spz", some_gaussians(2, 0))
    with pytest.raises(FormatError, match=r"got the colour rule 'raw-rgb' for a .spz file"):
        read_gaussians(tmp_path / "a.spz", color=ColorRule.RAW_RGB)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    gaussians = some_gaussians(17, 3).to(dtype)
    unit = torch.tensor([[0.0, 0, 1, 0]], dtype=dtype).expand(17, 4)  # exact in every type
    gaussians = replace(gaussians, quats=unit)
    write_gaussian_tensors(tmp_path / "a.safetensors", gaussians)
    assert_equal(read_gaussian_tensors(tmp_path / "a.safetensors"), gaussians)
    first = (tmp_path / "a.safetensors").read_bytes()
    write_gaussian_tensors(tmp_path / "a.safetensors", gaussians)
    assert (tmp_path / "a.safetensors").read_bytes() == first


def tensors_file(tensors: dict[str, list[int]], metadata: dict[str, str]) -> bytes:
    """A float32 safetensors file of ones, packed here from the format's description."""
    table: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for name, shape in tensors.items():
        size = 4 * int(torch.Size(shape).numel())
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(table).encode()
    return (
        struct.pack("<Q", len(text)) + text + struct.pack(f"<{offset // 4}f", *[1] * (offset // 4))
    )


SHAPES = {"means": [2, 3], "quats": [2, 4], "scales": [2, 3], "opacities": [2], "sh": [2, 1, 3]}
OURS = {"any3davatar.gaussians": "version 1; by hand"}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        (SHAPES, {}, "the metadata say '' under 'any3davatar.gaussians'"),
        (SHAPES, {"any3davatar.gaussians": "version 2; new"}, "a newer release wrote it"),
        ({"weight": [3]}, OURS, "got the tensors weight; expected exactly means, quats"),
        (SHAPES | {"extra": [1]}, OURS, "expected exactly"),
        (SHAPES | {"sh": [2, 5, 3]}, OURS, "must number 1, 4, 9 or 16; got 5"),
        (SHAPES | {"means": [3, 3]}, OURS, "N = "),
        (SHAPES, OURS, "must be unit quaternions; got norms in"),
    ],
)
@pytest.mark.border
def test_foreign_tensors_are_refused(
    tmp_path: Path, tensors: dict[str, list[int]], metadata: dict[str, str], message: str
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(tensors_file(tensors, metadata))
    with pytest.raises(FormatError, match=message):
        read_gaussian_tensors(path)


def test_truncated_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_gaussian_tensors(path, some_gaussians(5, 0))
    content = path.read_bytes()
    for cut in (0, 7, 50, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(FormatError, match="not a readable safetensors file"):
            read_gaussian_tensors(path)


def test_batches_are_not_written(tmp_path: Path) -> None:
    gaussians = some_gaussians(2, 0)
    with pytest.raises(InvalidInput, match=r"one set of Gaussians; got a batch \(2,\)"):
        write_gaussians(tmp_path / "a.safetensors", Gaussians.stack([gaussians, gaussians]))
