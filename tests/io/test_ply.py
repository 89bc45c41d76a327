"""PLY files: golden bytes made here by hand, every dialect, other readers, and refusals by name."""

import logging
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from any3davatar.core import Gaussians, InvalidInput
from any3davatar.core.sh import C0
from any3davatar.io import BadRows, ColorRule, FormatError, gaussian_file_info, read_ply, write_ply
from tests.io.scenes import assert_equal, some_gaussians, with_opacities

NAMES = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
NAMES += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
# Chosen so that the activations have exact results: exp(0), sigmoid(0), a 3-4-0-0 quaternion.
VALUES = {
    "x": 1.0, "y": 2.0, "z": 3.0, "nx": 9.0, "ny": 9.0, "nz": 9.0,
    "f_dc_0": 0.25, "f_dc_1": -0.5, "f_dc_2": 0.75, "opacity": 0.0,
    "scale_0": 0.0, "scale_1": -1.0, "scale_2": -2.0,
    "rot_0": 3.0, "rot_1": 4.0, "rot_2": 0.0, "rot_3": 0.0,
}  # fmt: skip


def header(properties: list[str], n: int, encoding: str = "binary_little_endian") -> bytes:
    lines = ["ply", f"format {encoding} 1.0", f"element vertex {n}"]
    lines += [f"property {prop}" for prop in properties]
    return "\n".join([*lines, "end_header", ""]).encode()


def expected(degree: int = 0) -> Gaussians:
    e = np.exp(np.array([0, -1, -2], np.float32))
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([[0.6, 0.8, 0.0, 0.0]]),
        scales=torch.from_numpy(e)[None],
        opacities=torch.tensor([0.5]),
        sh=torch.tensor([[[0.25, -0.5, 0.75]]]),
    )
    return gaussians.with_sh_degree(degree)


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def one_row(names: list[str], order: str = "<", code: str = "f") -> bytes:
    return struct.pack(f"{order}{len(names)}{code}", *(VALUES[name] for name in names))


def test_golden_bytes_of_the_original_dialect(tmp_path: Path) -> None:
    content = header([f"float {name}" for name in NAMES], 1) + one_row(NAMES)
    assert_equal(read_ply(save(tmp_path / "a.ply", content)), expected())


def test_written_bytes_are_those_of_the_original_release(tmp_path: Path) -> None:
    generous = some_gaussians(1, 1)
    gaussians = replace(
        generous,
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([[0.6, 0.8, 0.0, 0.0]]),
        scales=torch.ones(1, 3),
        opacities=torch.tensor([0.5]),
        sh=torch.arange(12.0).reshape(1, 4, 3),  # coefficient-major; the file is channel-major
    )
    write_ply(tmp_path / "a.ply", gaussians)
    names = [*NAMES[:9], *(f"f_rest_{i}" for i in range(9)), *NAMES[9:]]
    row = [1, 2, 3, 0, 0, 0, 0, 1, 2, 3, 6, 9, 4, 7, 10, 5, 8, 11, 0, 0, 0, 0]
    golden = header([f"float {name}" for name in names], 1)
    golden += struct.pack("<22f", *row) + struct.pack("<4f", 0.6, 0.8, 0, 0)
    assert (tmp_path / "a.ply").read_bytes() == golden


@pytest.mark.parametrize(
    ("encoding", "order", "number", "code"),
    [
        ("binary_little_endian", "<", "float", "f"),
        ("binary_little_endian", "<", "float64", "d"),
        ("binary_big_endian", ">", "float32", "f"),
        ("binary_big_endian", ">", "double", "d"),
    ],
)
def test_number_types_and_byte_orders(
    tmp_path: Path, encoding: str, order: str, number: str, code: str
) -> None:
    content = header([f"{number} {name}" for name in NAMES], 1, encoding)
    path = save(tmp_path / "a.ply", content + one_row(NAMES, order, code))
    assert_equal(read_ply(path), expected())


def test_any_order_of_properties_and_no_normals(tmp_path: Path) -> None:
    names = [name for name in reversed(NAMES) if not name.startswith("n")]
    content = header([f"float {name}" for name in names], 1) + one_row(names)
    path = save(tmp_path / "a.ply", content)
    assert_equal(read_ply(path), expected())
    assert gaussian_file_info(path).dialect == ("no normals",)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_ascii_with_comments_and_blank_lines(tmp_path: Path, newline: str) -> None:
    lines = ["ply", "format ascii 1.0", "comment made by hand", "obj_info nothing"]
    lines += ["element camera 1", "property float f", "element vertex 2"]
    lines += [f"property float {name}" for name in NAMES]
    row = " ".join(str(VALUES[name]) for name in NAMES)
    lines += ["end_header", "50", row, "", f"  {row}  "]
    path = save(tmp_path / "a.ply", newline.join(lines).encode())
    assert_equal(read_ply(path), expected().select(torch.tensor([0, 0])))


def test_crlf_header_before_binary_rows(tmp_path: Path) -> None:
    content = header([f"float {name}" for name in NAMES], 1).replace(b"\n", b"\r\n")
    path = save(tmp_path / "a.ply", content + one_row(NAMES))
    assert_equal(read_ply(path), expected())


def test_facelift_dialect_with_bytes_for_colours_and_zero_rest(tmp_path: Path) -> None:
    rest = [f"f_rest_{i}" for i in range(45)]
    properties = [f"float {name}" for name in "xyz"]
    properties += [f"uchar {name}" for name in ("red", "green", "blue")]
    properties += [f"float {name}" for name in (*NAMES[6:9], *rest, *NAMES[9:])]
    row = struct.pack("<3f3B", 1, 2, 3, 10, 20, 30)
    row += one_row(NAMES[6:9]) + struct.pack("<45f", *[0.0] * 45) + one_row(NAMES[9:])
    path = save(tmp_path / "a.ply", header(properties, 1) + row)
    assert_equal(read_ply(path), expected(degree=3))
    info = gaussian_file_info(path)
    assert info.ignored_properties == ("red", "green", "blue")
    assert info.dialect == ("no normals", "8-bit colours beside f_dc", "f_rest all zero")


def test_f_rest_is_channel_major(tmp_path: Path) -> None:
    rest = [f"f_rest_{i}" for i in range(24)]  # degree 2: 8 coefficients a channel
    names = [*NAMES[:9], *rest, *NAMES[9:]]
    row = one_row(NAMES[:9]) + struct.pack("<24f", *range(24)) + one_row(NAMES[9:])
    path = save(tmp_path / "a.ply", header([f"float {name}" for name in names], 1) + row)
    sh = read_ply(path).sh[0]
    for channel in range(3):
        assert sh[1:, channel].tolist() == [8 * channel + i for i in range(8)]


def test_further_elements_and_properties_are_passed_over(tmp_path: Path) -> None:
    lines = ["ply", "format binary_little_endian 1.0", "element before 2", "property int a"]
    lines += ["property uchar b", "element vertex 1", "property short label"]
    lines += [f"property float {name}" for name in NAMES]
    lines += ["element face 0", "property list uchar int vertex_indices"]
    lines += ["element version 1", "property uint number", "end_header", ""]
    body = struct.pack("<iBiB", 1, 2, 3, 4) + struct.pack("<h", 7) + one_row(NAMES)
    path = save(tmp_path / "a.ply", "\n".join(lines).encode() + body + struct.pack("<I", 1))
    assert_equal(read_ply(path), expected())
    assert gaussian_file_info(path).ignored_properties == ("label",)


def test_comments_that_are_not_text_do_not_matter(tmp_path: Path) -> None:
    content = header([f"float {name}" for name in NAMES], 1)
    content = content.replace(b"element", b"comment \xff\xfe \xc3\x28\nelement", 1)
    assert_equal(read_ply(save(tmp_path / "a.ply", content + one_row(NAMES))), expected())


def test_raw_rgb_is_a_rule_of_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    content = header([f"float {name}" for name in NAMES], 1)
    stored = VALUES | {"f_dc_0": 1.0, "f_dc_1": 0.5, "f_dc_2": 0.1}
    save(path, content + struct.pack("<17f", *(stored[name] for name in NAMES)))
    rgb = read_ply(path, color=ColorRule.RAW_RGB).sh[0, 0] * C0 + 0.5
    # float32 rounding of (c - 0.5) / C0 and back
    torch.testing.assert_close(rgb, torch.tensor([1.0, 0.5, 0.1]), atol=1e-6, rtol=0)
    assert read_ply(path).sh[0, 0].tolist() == pytest.approx([1.0, 0.5, 0.1])
    assert "f_dc all in [0, 1]: raw RGB?" in gaussian_file_info(path).dialect


def test_raw_rgb_refuses_coefficients(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", some_gaussians(9, 0))
    with pytest.raises(FormatError, match=r"a\.ply: f_dc spans .* read the file with ColorRule.SH"):
        read_ply(tmp_path / "a.ply", color=ColorRule.RAW_RGB)
    write_ply(tmp_path / "b.ply", some_gaussians(9, 1))
    with pytest.raises(FormatError, match="f_rest holds view-dependent colour"):
        read_ply(tmp_path / "b.ply", color=ColorRule.RAW_RGB)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097])
def test_round_trip(tmp_path: Path, n: int, degree: int) -> None:
    gaussians = some_gaussians(n, degree)
    write_ply(tmp_path / "a.ply", gaussians)
    got = read_ply(tmp_path / "a.ply").validate()
    assert torch.equal(got.means, gaussians.means)
    assert torch.equal(got.sh, gaussians.sh)
    # The logarithm (up to 8 here) is rounded to float32: 8 * 2^-24 relative, and exp's own ulp.
    torch.testing.assert_close(got.scales, gaussians.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(got.opacities, gaussians.opacities, rtol=0, atol=2e-7)
    torch.testing.assert_close(got.quats, gaussians.quats, rtol=0, atol=2e-7)  # normalised again


def test_opacities_of_zero_and_one_come_back_exactly(tmp_path: Path) -> None:
    values = [0.0, 1.0, 0.5, 1e-30, 1 - 2**-24]
    write_ply(tmp_path / "a.ply", with_opacities(some_gaussians(5, 0), values))
    got = read_ply(tmp_path / "a.ply").opacities
    assert got[:3].tolist() == [0.0, 1.0, 0.5]
    torch.testing.assert_close(got, torch.tensor(values), rtol=1e-5, atol=1e-7)


def test_other_types_are_written_as_float32(tmp_path: Path) -> None:
    gaussians = some_gaussians(20, 1)
    write_ply(tmp_path / "a.ply", gaussians.to(torch.float64))
    write_ply(tmp_path / "b.ply", gaussians)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_gsply_reads_what_we_write(tmp_path: Path) -> None:
    gsply = pytest.importorskip("gsply")
    gaussians = some_gaussians(50, 3)
    write_ply(tmp_path / "a.ply", gaussians)
    theirs = gsply.plyread(tmp_path / "a.ply")
    # float32 logarithms of numbers down to e^-7
    np.testing.assert_allclose(theirs.means, gaussians.means, atol=0)
    np.testing.assert_allclose(np.exp(theirs.scales), gaussians.scales, rtol=1e-6)
    np.testing.assert_allclose(theirs.quats, gaussians.quats, atol=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-theirs.opacities)), gaussians.opacities, atol=1e-6)
    np.testing.assert_allclose(theirs.sh0, gaussians.sh[:, 0], atol=0)
    np.testing.assert_allclose(theirs.shN.reshape(50, 15, 3), gaussians.sh[:, 1:], atol=0)


@pytest.mark.parametrize(
    "compressed",
    # gsply compiles for half a minute when it first meets a compressed file.
    [False, pytest.param(True, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_we_read_what_gsply_writes(tmp_path: Path, degree: int, compressed: bool) -> None:
    gsply = pytest.importorskip("gsply")
    gaussians = some_gaussians(600, degree)  # three chunks, the last one partly filled
    data = gsply.GSData.from_arrays(
        means=gaussians.means.numpy(),
        scales=gaussians.scales.log().numpy(),
        quats=gaussians.quats.numpy(),
        opacities=gaussians.opacities.logit().numpy(),
        sh0=gaussians.sh[:, 0].contiguous().numpy(),
        shN=gaussians.sh[:, 1:].contiguous().numpy() if degree else None,
        format="ply",
    )
    path = tmp_path / "a.ply"
    gsply.plywrite(path, data, compressed=compressed)
    if compressed:
        path = next(tmp_path.glob("*.ply"))
    got, theirs = read_ply(path), gsply.plyread(path)
    assert got.sh_degree == degree
    # One reader computes in float32 and the other partly in float64: some ulps apart.
    np.testing.assert_allclose(got.means, theirs.means, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(got.scales, np.exp(theirs.scales), rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(got.opacities, 1 / (1 + np.exp(-theirs.opacities)), atol=5e-5)
    np.testing.assert_allclose(got.sh[:, 0], theirs.sh0, rtol=1e-5, atol=3e-6)
    if degree:
        np.testing.assert_allclose(
            got.sh[:, 1:], theirs.shN.reshape(600, -1, 3), rtol=1e-5, atol=3e-6
        )
    dots = (got.quats.numpy() * theirs.quats).sum(-1)
    np.testing.assert_allclose(dots, np.linalg.norm(theirs.quats, axis=-1), atol=1e-6)


@pytest.mark.slow
def test_compressed_ply_is_near_the_original(tmp_path: Path) -> None:
    gsply = pytest.importorskip("gsply")
    gaussians = some_gaussians(300, 0)
    arrays = {name: t.numpy() for name, t in gaussians.tensors().items() if name != "sh"}
    arrays |= {"scales": np.log(arrays["scales"]), "sh0": gaussians.sh[:, 0].numpy()}
    arrays["opacities"] = gaussians.opacities.logit().numpy()
    data = gsply.GSData.from_arrays(**arrays, shN=None, format="ply")
    gsply.plywrite(tmp_path / "a.ply", data, compressed=True)
    path = next(tmp_path.glob("*.ply"))
    got = read_ply(path)
    assert gaussian_file_info(path).format == "compressed PLY"
    order = torch.cdist(gaussians.means.double(), got.means.double()).argmin(
        dim=1
    )  # the writer sorts
    got = got.select(order)
    # 10 bits over an extent below 1; 10 bits of log-scales over 5; 8 bits of opacity
    torch.testing.assert_close(got.means, gaussians.means, rtol=0, atol=1e-3)
    torch.testing.assert_close(got.scales, gaussians.scales, rtol=5e-3, atol=0)
    torch.testing.assert_close(got.opacities, gaussians.opacities, rtol=0, atol=1 / 255)


def test_trimesh_finds_our_points(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    gaussians = some_gaussians(30, 2)
    write_ply(tmp_path / "a.ply", gaussians)
    cloud = trimesh.load(tmp_path / "a.ply")
    np.testing.assert_array_equal(np.float32(cloud.vertices), gaussians.means.numpy())


def test_meshes_of_another_writer_are_refused_as_what_they_are(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    for encoding in ("binary", "ascii"):
        path = tmp_path / f"{encoding}.ply"
        path.write_bytes(trimesh.creation.box().export(file_type="ply", encoding=encoding))
        with pytest.raises(FormatError, match="this is a mesh, not a set of Gaussians"):
            read_ply(path)
    points = trimesh.PointCloud(np.random.default_rng(0).random((9, 3))).export(file_type="ply")
    with pytest.raises(FormatError, match="this is a point cloud, not a set of Gaussians"):
        read_ply(save(tmp_path / "cloud.ply", points))


def test_mesh_bound_gaussians_are_refused_with_the_reason(tmp_path: Path) -> None:
    lines = ["ply", "format binary_little_endian 1.0", "element faces 1"]
    lines += ["property list uchar int vertex_indices", "element base_vertex 1"]
    lines += ["property float x", "element vertex 1", "property int binding"]
    lines += [f"property float {name}" for name in NAMES]
    content = "\n".join([*lines, "end_header", ""]).encode() + bytes(200)
    with pytest.raises(FormatError, match=r"bound to the triangles of a mesh .*CAP4D"):
        read_ply(save(tmp_path / "a.ply", content))


def change(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new, 1)


GOOD = header([f"float {name}" for name in NAMES], 2) + 2 * one_row(NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PLY file: it starts with b''"),
        (b"version https://git-lfs", "Git LFS pointer"),
        (GOOD[:60], "no line 'end_header' in the first 60 bytes"),
        (GOOD[:-1], r"truncated: the header promises 2 x vertex = \d+ bytes, got"),
        (GOOD + b"!", "longer than its header says"),
        (change(GOOD, b"vertex 2", b"vertex 1152921504606846976"), r"line 'element vertex 115"),
        (change(GOOD, b"vertex 2", b"vertex 115292150460684697"), "truncated"),
        (change(GOOD, b"vertex 2", b"vertex -2"), "'element vertex -2' makes no sense here"),
        (change(GOOD, b"vertex 2", b"vertex 2.0"), "makes no sense here"),
        (change(GOOD, b"vertex 2", b"point 2"), "no element 'vertex'; got elements: point"),
        (change(GOOD, b"float opacity", b"float x"), "'x' more than once"),
        (change(GOOD, b"float opacity", b"float density"), "lacks opacity; expected x, y, z"),
        (change(GOOD, b"float scale_2", b"float thick"), r"lacks scale_2.*Flat \(2D\) Gaussians"),
        (change(GOOD, b"float opacity", b"int opacity"), "'opacity' has type int32, expected"),
        (change(GOOD, b"float opacity", b"quad opacity"), "'property quad opacity' makes no sense"),
        (change(GOOD, b"float nx", b"list uchar int nx"), "has the list property 'nx'"),
        (change(GOOD, b"float nx", b"float f_rest_0"), "got 1 f_rest properties"),
        (change(GOOD, b"format binary_little_endian 1.0\n", b""), "makes no sense here"),
        (change(GOOD, b"binary_little_endian 1.0", b"binary_middle_endian 1.0"), "no sense"),
        (change(GOOD, b"element", b"element vertex 0\nelement"), "names element 'vertex' twice"),
        (change(GOOD, b"ply\n", b"ply\r"), "not a PLY file"),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_ply(save(tmp_path / "a.ply", content))


ASCII_ROW = " ".join(["0.5"] * len(NAMES)) + "\n"


@pytest.mark.parametrize(
    ("count", "body", "message"),
    [
        (2, ASCII_ROW + "1 2" + " " * 99, "not all numbers"),
        (1, ASCII_ROW.replace("0.5", "one", 1), "not all numbers: could not convert string 'one'"),
        (9, ASCII_ROW, r"9 rows of 17 numbers, more than \d+ bytes of text can hold"),
        (2, ASCII_ROW[:-1] + " 0" * 20, "has 1 lines, the header promises 2"),
        (1, ASCII_ROW[:-1] + " 7\n", "has 18 numbers a row, the header promises 17"),
    ],
)
def test_damaged_ascii_is_refused(tmp_path: Path, count: int, body: str, message: str) -> None:
    head = header([f"float {name}" for name in NAMES], count, "ascii")
    with pytest.raises(FormatError, match=message):
        read_ply(save(tmp_path / "a.ply", head + body.encode()))


def test_a_header_without_end_is_not_searched_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "big.ply"
    with path.open("wb") as file:
        file.write(b"ply\nformat ascii 1.0\n")
        file.truncate(1 << 30)  # sparse: takes no room
    with pytest.raises(FormatError, match="no line 'end_header' in the first 1048576 bytes"):
        read_ply(path)


BAD_VALUES = [
    ("x", float("nan"), "1 with NaN or infinite values"),
    ("opacity", float("inf"), "1 with NaN or infinite values"),
    ("f_dc_1", float("-inf"), "1 with NaN or infinite values"),
    ("scale_1", float("nan"), "1 with NaN or infinite values"),
    ("scale_1", 1e9, "1 with a scale that is zero, negative or beyond float32"),
    ("scale_1", -1e9, "1 with a scale that is zero, negative or beyond float32"),
]


@pytest.mark.parametrize(("name", "value", "reason"), BAD_VALUES)
def test_bad_rows_are_refused_or_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: float, reason: str
) -> None:
    stored = VALUES | {name: value}
    bad = struct.pack("<17f", *(stored[n] for n in NAMES))
    content = header([f"float {n}" for n in NAMES], 3) + one_row(NAMES) + bad + one_row(NAMES)
    path = save(tmp_path / "a.ply", content)
    with pytest.raises(FormatError, match=rf"1 of 3 rows are no Gaussians: {reason}; .* is row 1"):
        read_ply(path)
    with caplog.at_level(logging.WARNING):
        got = read_ply(path, on_bad_rows=BadRows.DROP)
    assert_equal(got, expected().select(torch.tensor([0, 0])))
    assert reason in caplog.text
    info = gaussian_file_info(path)
    assert (info.count, info.bad_rows) == (3, 1)


@pytest.mark.parametrize("name", ["x", "f_dc_0", "opacity", "scale_0", "rot_0"])
def test_signalling_nans_are_bad_rows_too(tmp_path: Path, name: str) -> None:
    at = NAMES.index(name) * 4
    row = struct.pack("<17f", *(abs(VALUES[n]) for n in NAMES))  # f_dc in [0, 1]: either rule
    row = row[:at] + struct.pack("<I", 0x7F800001) + row[at + 4 :]
    path = save(tmp_path / "a.ply", header([f"float {n}" for n in NAMES], 1) + row)
    for rule in ColorRule:
        with pytest.raises(FormatError, match="1 with NaN or infinite values"):
            read_ply(path, color=rule)
    assert gaussian_file_info(path).bad_rows == 1


def test_zero_quaternions_are_bad_and_tiny_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    content = header([f"float {n}" for n in NAMES], 2)
    tiny = VALUES | {"rot_0": 3e-30, "rot_1": 4e-30}
    zero = VALUES | {"rot_0": 0.0, "rot_1": 0.0}
    for row in (tiny, zero):
        content += struct.pack("<17f", *(row[n] for n in NAMES))
    with pytest.raises(FormatError, match="1 with a zero quaternion; the first is row 1"):
        read_ply(save(path, content))
    got = read_ply(path, on_bad_rows=BadRows.DROP)
    torch.testing.assert_close(got.quats, torch.tensor([[0.6, 0.8, 0, 0]]))


def test_float64_beyond_float32_is_a_bad_row(tmp_path: Path) -> None:
    stored = VALUES | {"x": 1e300}
    content = header([f"double {n}" for n in NAMES], 1)
    content += struct.pack("<17d", *(stored[n] for n in NAMES))
    with pytest.raises(FormatError, match="1 with NaN or infinite values"):
        read_ply(save(tmp_path / "a.ply", content))


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ply")
    with pytest.raises(FormatError, match=r"pipe\.ply: got a named pipe, expected a regular file"):
        read_ply(tmp_path / "pipe.ply")
    with pytest.raises(FormatError, match="got a folder"):
        read_ply(tmp_path)
    with pytest.raises(FormatError, match="got a character device"):
        read_ply("/dev/zero")
    with pytest.raises(FileNotFoundError, match=r"absent\.ply"):
        read_ply(tmp_path / "absent.ply")
    (tmp_path / "loop.ply").symlink_to(tmp_path / "loop.ply")
    with pytest.raises(OSError, match=r"loop\.ply"):
        read_ply(tmp_path / "loop.ply")


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", some_gaussians(3, 0))
    (tmp_path / "b.ply").symlink_to(tmp_path / "a.ply")
    assert_equal(read_ply(tmp_path / "b.ply"), read_ply(tmp_path / "a.ply"))


def test_only_one_valid_set_is_written(tmp_path: Path) -> None:
    gaussians = some_gaussians(3, 0)
    with pytest.raises(InvalidInput, match=r"one set of Gaussians; got a batch \(2,\)"):
        write_ply(tmp_path / "a.ply", Gaussians.stack([gaussians, gaussians]))
    with pytest.raises(InvalidInput, match="scales must be > 0"):
        write_ply(tmp_path / "a.ply", replace(gaussians, scales=gaussians.scales.log()))
    assert list(tmp_path.iterdir()) == []


CHUNK = ["min_x", "min_y", "min_z", "max_x", "max_y", "max_z", "min_scale_x", "min_scale_y"]
CHUNK += ["min_scale_z", "max_scale_x", "max_scale_y", "max_scale_z"]
PACKED = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]


def compressed_ply(chunks: int, vertices: int, rest: int = 0) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {chunks}"]
    lines += [f"property float {name}" for name in CHUNK]
    lines += [f"element vertex {vertices}", *(f"property uint {name}" for name in PACKED)]
    if rest:
        lines += [f"element sh {vertices}", *(f"property uchar f_rest_{i}" for i in range(rest))]
    limits = struct.pack("<12f", 0, 10, 20, 1, 12, 24, -1, -2, -3, 0, 0, 0)
    # x all ones, y zero, z all ones; the largest is x (index 1), the others 0 (middle of 10 bits)
    word = (2047 << 21) | 2047
    turn = (1 << 30) | (1023 << 20) | (511 << 10) | 511
    row = struct.pack("<4I", word, turn, word, 0xFF_00_80_33)
    return (
        "\n".join([*lines, "end_header", ""]).encode()
        + chunks * limits
        + vertices * (row + bytes(range(rest)))
    )


def test_golden_bytes_of_compressed_ply(tmp_path: Path) -> None:
    got = read_ply(save(tmp_path / "a.ply", compressed_ply(1, 1)))
    assert got.means.tolist() == [[1.0, 10.0, 24.0]]
    e = np.exp(np.array([0, -2, 0], np.float32))
    np.testing.assert_array_equal(got.scales[0], e)
    assert got.opacities.tolist() == [np.float32(0x33 / 255)]
    rgb = got.sh[0, 0] * C0 + 0.5
    torch.testing.assert_close(rgb, torch.tensor([1.0, 0.0, 128 / 255]), atol=1e-6, rtol=0)
    # w = +1/sqrt 2 exactly (all ten bits set), so x is 1/sqrt 2 too, up to the middle's half step
    half = 0.5**0.5
    torch.testing.assert_close(
        got.quats, torch.tensor([[half, half, 0.0, 0.0]]), atol=1.5e-3, rtol=0
    )


def test_higher_coefficients_of_compressed_ply_are_channel_major(tmp_path: Path) -> None:
    sh = read_ply(save(tmp_path / "a.ply", compressed_ply(1, 1, rest=24))).sh[0]
    for channel in range(3):
        codes = torch.arange(8.0 * channel, 8 * channel + 8)
        assert torch.equal(sh[1:, channel], (codes + 0.5) / 32 - 4)
    nothing = read_ply(save(tmp_path / "b.ply", compressed_ply(0, 0, rest=45)))
    assert (nothing.count, nothing.sh_degree) == (0, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (compressed_ply(2, 300)[:-1], "truncated"),
        (compressed_ply(1, 300), "got 1 chunks for 300 Gaussians, expected 2"),
        (change(compressed_ply(1, 1), b"uint packed_scale", b"int packed_scale"), "packed_scale"),
        (change(compressed_ply(1, 1), b"min_y", b"low_y"), "another type: min_y"),
        (compressed_ply(1, 1, rest=10), "element 'sh' has 10 properties, expected 9, 24 or 45"),
        (
            change(compressed_ply(1, 1, 9), b"sh 1", b"sh 2") + bytes(9),
            "got 2 rows of 'sh' for 1 Gaussians",
        ),
        (change(compressed_ply(1, 1), b"element chunk", b"element lump"), "element 'chunk'"),
        (change(compressed_ply(1, 1), b"binary_little_endian", b"ascii"), "got ascii"),
    ],
)
def test_damaged_compressed_ply_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_ply(save(tmp_path / "a.ply", content))
    with pytest.raises(FormatError, match="a compressed PLY always holds colours of its own kind"):
        read_ply(save(tmp_path / "a.ply", content), color=ColorRule.RAW_RGB)
