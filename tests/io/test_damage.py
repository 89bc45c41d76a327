"""Damaged files of every format: `FormatError` or a valid result, quickly, in little memory.

Each case is a good file with random damage (seeded): bits, bytes, runs, cuts, insertions, digits of
text, pieces of other formats. Where a check sum would stop the damage at the door, it is made
behind it: SPZ payloads are packed again, PNG chunks get correct sums. Numbers are counted at the
end, so that a reader which refuses everything, or nothing, fails too.
"""

import gzip
import json
import resource
import signal
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from any3davatar.core import Cameras, Gaussians
from any3davatar.core.rigs import orbit
from any3davatar.io import (
    CameraFile,
    ColorRule,
    FormatError,
    gaussian_file_info,
    read_cameras,
    read_gaussian_tensors,
    read_opencv_cameras,
    read_ply,
    read_png,
    read_splat,
    read_spz,
    read_transforms,
    read_video_frames,
    write_cameras,
    write_gaussian_tensors,
    write_mp4,
    write_ply,
    write_png,
    write_splat,
    write_spz,
)
from tests.io.scenes import some_gaussians, some_picture

MEMORY_BYTES = 1 << 30  # on top of what the process already holds
SECONDS = 5.0  # a case takes about a millisecond; the machine may be busy
Damage = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Subject:
    """A good file, its reader, and how it is damaged."""

    name: str
    content: bytes
    read: Callable[[Path], object]
    damage: Damage


@pytest.fixture
def bounded() -> Iterator[None]:
    """Memory is limited and a hang is interrupted while a test runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES

    def hang(*_: object) -> None:
        raise TimeoutError("a reader hangs")

    previous = signal.signal(signal.SIGALRM, hang)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, previous)


def bytes_damage(content: bytes, random: np.random.Generator) -> bytes:
    """One to three random damages of the bytes."""
    data = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(0, max(len(data), 1)))
        # Headers are short and decide most: half of all damages go there.
        at = min(at, int(random.integers(0, 400))) if random.random() < 0.5 else at
        length = int(random.integers(1, 40))
        match random.integers(0, 9):
            case 0:
                data[at : at + 1] = bytes(
                    b ^ (1 << random.integers(0, 8)) for b in data[at : at + 1]
                )
            case 1:
                data[at : at + 1] = random.bytes(1)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = random.bytes(length)
            case 5:
                data[at:at] = data[at : at + length]
            case 6:
                data[at : at + length] = bytes([random.choice([0, 255])]) * length
            case 7:
                data[at : at + 4] = struct.pack("<I", random.integers(0, 2**32))
            case _:
                data[at : at + 4] = struct.pack("<f", random.choice([np.nan, np.inf, 1e38, -1e38]))
    return bytes(data)


def text_damage(content: bytes, random: np.random.Generator) -> bytes:
    """Change a number or word of a text, or its bytes."""
    words = content.split(b" ")
    if random.random() < 0.3 or len(words) < 2:
        return bytes_damage(content, random)
    hostile = [b"-1", b"0", b"1e999", b"nan", b"99999999999", b"18446744073709551616", b"1.5", b""]
    hostile += [b"null", b"[]", b"{}", b'"x"', b"true", b"\xff\xfe", b"vertex", b"list", b"double"]
    for _ in range(random.integers(1, 3)):
        at = int(random.integers(0, len(words)))
        tail = b"\n" if words[at].endswith(b"\n") else b""
        words[at] = hostile[random.integers(0, len(hostile))] + tail
    return b" ".join(words)


def mixed_damage(content: bytes, random: np.random.Generator) -> bytes:
    """Damage the words of a text header, or any bytes."""
    if random.random() < 0.5:
        return bytes_damage(content, random)
    end = content.index(b"end_header\n")
    header = text_damage(content[:end].replace(b"\n", b" \n"), random)
    return header.replace(b" \n", b"\n") + content[end:]


def payload_damage(content: bytes, random: np.random.Generator) -> bytes:
    """Damage what a gzip stream holds, and pack it again."""
    return gzip.compress(bytes_damage(gzip.decompress(content), random), compresslevel=1, mtime=0)


def chunk_damage(content: bytes, random: np.random.Generator) -> bytes:
    """Damage the body of a PNG chunk, or the unpacked pixels, and correct the sums."""
    parts: list[tuple[bytes, bytes]] = []
    at = 8
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        parts.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    which = int(random.integers(0, len(parts)))
    kind, body = parts[which]
    if kind == b"IDAT" and random.random() < 0.6:
        body = zlib.compress(bytes_damage(zlib.decompress(body), random), 1)
    elif random.random() < 0.2:
        kind = random.bytes(4)
    else:
        body = bytes_damage(body, random)
    parts[which] = (kind, body)
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    ]
    return content[:8] + b"".join(chunks)


def check(result: object) -> None:
    """A reader that takes a damaged file must still give what its contract says."""
    match result:
        case Gaussians():
            result.validate()
        case CameraFile():
            result.cameras.validate()
            assert len(result.names) == len(result.image_paths) == len(result.cameras)
        case tuple():
            for plane in result:
                assert plane is None or bool(((plane >= 0) & (plane <= 1)).all())
        case list():
            assert all(frame.shape[0] == 3 for frame in result)


def ascii_ply(binary: bytes) -> bytes:
    header, body = binary.split(b"end_header\n")
    rows = np.frombuffer(body, "<f4").reshape(-1, header.count(b"property"))
    text = "\n".join(" ".join(f"{value:.6g}" for value in row) for row in rows)
    return header.replace(b"binary_little_endian", b"ascii") + b"end_header\n" + text.encode()


def big_endian_ply(binary: bytes) -> bytes:
    header, body = binary.split(b"end_header\n")
    swapped = np.frombuffer(body, "<f4").astype(">f4").tobytes()
    return header.replace(b"little", b"big") + b"end_header\n" + swapped


def compressed_ply() -> bytes:
    random = np.random.default_rng(5)
    bounds = ["x", "y", "z", "scale_x", "scale_y", "scale_z"]
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 2"]
    lines += [f"property float {end}_{name}" for name in bounds for end in ("min", "max")]
    lines += ["element vertex 300"]
    lines += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    lines += ["element sh 300", *(f"property uchar f_rest_{i}" for i in range(9)), "end_header", ""]
    limits = struct.pack("<24f", *[-1, 1] * 12)
    return "\n".join(lines).encode() + limits + random.bytes(300 * 16 + 300 * 9)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    folder = tmp_path_factory.mktemp("good")

    def written(write: Callable[[Path], None]) -> bytes:
        write(folder / "file")
        return (folder / "file").read_bytes()

    picture = some_picture(19, 23, 4)
    ply = written(lambda path: write_ply(path, some_gaussians(40, 1)))
    plain_ply = written(lambda path: write_ply(path, some_gaussians(25, 0)))
    plain = some_gaussians(25, 0)
    rgb_ply = written(lambda path: write_ply(path, replace(plain, sh=plain.sh.abs())))
    spz2 = written(lambda path: write_spz(path, some_gaussians(60, 2), version=2))
    spz3 = written(lambda path: write_spz(path, some_gaussians(60, 1), version=3))
    png8 = written(lambda path: write_png(path, picture[:3], picture[3:]))
    png16 = written(lambda path: write_png(path, picture[:3], bits=16))
    cameras = orbit([0, 30, 200], [0, 10, -5], size_px=32)
    ours = written(lambda path: write_cameras(path, cameras, ["a", "b", "c"], ["1.png", "2", "3"]))
    poses = cameras.camera_to_world.tolist()
    transforms = {"fl_x": 40, "fl_y": 41, "cx": 16, "cy": 15.5, "w": 32, "h": 32, "k1": 0}
    transforms["frames"] = [
        {"file_path": f"images/{i}.png", "mask_path": "m.png", "transform_matrix": pose}
        for i, pose in enumerate(poses)
    ]
    opencv = {"w": 32, "h": 32, "fx": 40, "fy": 41, "cx": 16, "cy": 15.5}
    frames = [
        opencv | {"file_path": f"images/{i}.png", "w2c": w2c}
        for i, w2c in enumerate(cameras.world_to_camera.tolist())
    ]
    video = written(lambda path: write_mp4(path, [picture[:3, :18, :22] * s for s in (1, 0.5, 0)]))

    def raw_rgb(path: Path) -> Gaussians:
        return read_ply(path, color=ColorRule.RAW_RGB)

    def info(path: Path) -> object:
        return gaussian_file_info(path.rename(path.with_suffix(".ply")))

    def video_frames(path: Path) -> list[torch.Tensor]:
        return list(read_video_frames(path))

    table = [
        Subject("ply", ply, read_ply, mixed_damage),
        Subject("ply big-endian", big_endian_ply(ply), read_ply, mixed_damage),
        Subject("ply ascii", ascii_ply(plain_ply), read_ply, text_damage),
        Subject("ply compressed", compressed_ply(), read_ply, mixed_damage),
        Subject("ply raw rgb", rgb_ply, raw_rgb, mixed_damage),
        Subject("ply info", ply, info, mixed_damage),
        Subject(
            "splat",
            written(lambda path: write_splat(path, some_gaussians(40, 0))),
            read_splat,
            bytes_damage,
        ),
        Subject("spz", spz3, read_spz, bytes_damage),
        Subject("spz 2 payload", spz2, read_spz, payload_damage),
        Subject("spz 3 payload", spz3, read_spz, payload_damage),
        Subject(
            "safetensors",
            written(lambda path: write_gaussian_tensors(path, some_gaussians(30, 1))),
            read_gaussian_tensors,
            bytes_damage,
        ),
        Subject("png 8", png8, read_png, bytes_damage),
        Subject("png 8 chunks", png8, read_png, chunk_damage),
        Subject("png 16 chunks", png16, read_png, chunk_damage),
        Subject("cameras", ours, read_cameras, text_damage),
        Subject("transforms", json.dumps(transforms).encode(), read_transforms, text_damage),
        Subject(
            "opencv cameras",
            json.dumps({"frames": frames}).encode(),
            read_opencv_cameras,
            text_damage,
        ),
        Subject("mp4", video, video_frames, bytes_damage),
    ]
    return {subject.name: subject for subject in table}


NAMES = [
    "ply", "ply big-endian", "ply ascii", "ply compressed", "ply raw rgb", "ply info", "splat",
    "spz", "spz 2 payload", "spz 3 payload", "safetensors", "png 8", "png 8 chunks",
    "png 16 chunks", "cameras", "transforms", "opencv cameras", "mp4",
]  # fmt: skip


def run_cases(subject: Subject, n: int, seed: int, folder: Path) -> Counter[str]:
    random = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    path = folder / "damaged"
    for case in range(n):
        path.write_bytes(subject.damage(subject.content, random))
        signal.setitimer(signal.ITIMER_REAL, 4 * SECONDS)
        start = time.perf_counter()
        try:
            check(subject.read(path))
            outcomes["read"] += 1
        except FormatError as error:
            outcomes["refused" if str(folder) in str(error) else "refused without a name"] += 1
        except BaseException as error:
            error.add_note(f"{subject.name}, seed {seed}, case {case}")
            raise
        assert time.perf_counter() - start < SECONDS, f"{subject.name}, seed {seed}, case {case}"
    return outcomes


def test_the_names_are_those_of_the_table(subjects: dict[str, Subject]) -> None:
    assert list(subjects) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_good_files_are_read(subjects: dict[str, Subject], name: str, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(subjects[name].content)
    check(subjects[name].read(tmp_path / "good"))


@pytest.mark.border
@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", NAMES)
def test_damage_is_refused_or_harmless(
    subjects: dict[str, Subject], name: str, tmp_path: Path
) -> None:
    n = 60 if name == "mp4" else 150  # 2,610 in all
    outcomes = run_cases(subjects[name], n, seed=NAMES.index(name), folder=tmp_path)
    assert outcomes["refused"] >= n // 10
    assert outcomes["refused without a name"] == 0


@pytest.mark.slow
@pytest.mark.border
@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", NAMES)
def test_much_damage_is_refused_or_harmless(
    subjects: dict[str, Subject], name: str, tmp_path: Path
) -> None:
    n = 500 if name == "mp4" else 4000
    outcomes = run_cases(subjects[name], n, seed=1000 + NAMES.index(name), folder=tmp_path)
    assert outcomes["refused"] >= n // 10
    assert outcomes["refused without a name"] == 0


WORDS = "format version width height frames name image world_to_camera K w h fx fy cx cy w2c"
KEYS = [*WORDS.split(), "file_path", "transform_matrix", "fl_x", "mask_path", "camera_model"]
TURN = orbit([20], [10], size_px=8).world_to_camera[0].tolist()
LIKELY = [TURN, np.eye(3).tolist(), 64, 1, "a.png", "any3davatar.cameras", "OPENCV"]
VALUES = st.recursive(
    st.sampled_from(LIKELY) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=10,
)
OBJECTS = st.fixed_dictionaries({}, optional={key: VALUES for key in KEYS if key != "frames"})


@pytest.mark.border
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(top=OBJECTS, frames=VALUES | st.lists(OBJECTS, min_size=1, max_size=3))
@pytest.mark.parametrize("read", [read_cameras, read_opencv_cameras, read_transforms])
def test_any_json_is_refused_or_valid(
    tmp_path: Path, read: Callable[[Path], CameraFile], top: dict[str, object], frames: object
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(top | {"frames": frames}))
    try:
        cameras: Cameras = read(tmp_path / "a.json").cameras
    except FormatError:
        return
    cameras.validate()
