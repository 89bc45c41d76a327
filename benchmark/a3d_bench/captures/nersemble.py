"""Captures of NeRSemble V2, laid out as ``nersemble-data`` downloads it.

::

    {ROOT}/{id:03d}/calibration/camera_params.json        world_2_cam by serial, intrinsics
    {ROOT}/{id:03d}/calibration/color_calibration.json    a matrix a serial
    {ROOT}/{id:03d}/sequences/{SEQ}/images/cam_{serial}.mp4
    {ROOT}/{id:03d}/sequences/{SEQ}/alpha_maps/cam_{serial}.mp4      the benchmark's subset only

Instead of a video there may be a folder of the same name without ``.mp4`` that holds the frames as
``00000.png``, ``00001.png``, ... A capture is one participant at one frame of one sequence; all
cameras share the number of the frame. Extrinsics are OpenCV world to camera in metres; intrinsics
are of pictures of 2200 x 3208 pixels, one matrix for all cameras or one a serial number.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.captures.canonical import frontal_view, placed_in_metres
from a3d_bench.captures.color import TERMS
from a3d_bench.captures.found import Found, Problem
from a3d_bench.captures.sources import CorrectedFrame, Frame, checked_inside
from a3d_bench.errors import BenchError
from a3d_bench.protocol import DataRule
from a3d_bench.types import Capture
from any3davatar.core import Cameras, InvalidInput
from any3davatar.core.frames import cameras_from_opencv
from any3davatar.io import FormatError
from any3davatar.io.json_file import JsonObject, read_json_object

DATASET = "NeRSemble"
FULL_SIZE = (2200, 3208)  # width and height that the intrinsics are for
# The rig: eight columns of two cameras, before the face (order and rows as in nersemble-data).
UPPER_ROW = (
    "222200042", "222200046", "222200036", "220700191", "222200037", "222200047", "222200049",
    "221501007",
)  # fmt: skip
LOWER_ROW = (
    "222200044", "222200040", "222200048", "222200041", "222200038", "222200043", "222200039",
    "222200045",
)  # fmt: skip
_PARTICIPANT = re.compile(r"\d{3,4}")
_SEQUENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_-]*")
_SERIAL = re.compile(r"\d{1,16}")
_SIZE_TOLERANCE = 0.15  # how far a principal point may lie from the middle, of the half width


def is_nersemble(root: Path) -> bool:
    """Return whether a folder holds participants."""
    return root.is_dir() and any(_participants(root))


def read_nersemble(root: Path, rule: DataRule) -> Found:
    """Read one capture a participant, as a protocol chooses sequences, frame and cameras.

    Args:
        root: the folder above the participants.
        rule: of a protocol of the kind ``nersemble``.

    Raises:
        BenchError: the rule names no sequences.
    """
    if not rule.sequences:
        raise BenchError(
            f"{root} is NeRSemble, but the protocol names none of its sequences and frames; use "
            "the protocol nersemble, or one made from it"
        )
    there = _participants(root)
    wanted = rule.subjects or tuple(there)
    captures: list[Capture] = []
    problems: list[Problem] = []
    for k, participant in enumerate(wanted):
        sequence = rule.sequences[k % len(rule.sequences)]
        if participant not in there:
            problems.append(
                Problem(participant, f"{root / participant}: the participant is not there")
            )
            continue
        try:
            captures.append(_capture(root, participant, sequence, rule))
        except (BenchError, FormatError, InvalidInput, OSError) as error:
            problems.append(Problem(participant, str(error)))
    return Found(
        "nersemble",
        f"NeRSemble V2 in {root}: {len(there)} participants, {len(captures)} with the wanted "
        f"sequence and cameras",
        tuple(captures),
        tuple(problems),
    )


def _participants(root: Path) -> dict[str, Path]:
    return {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if _PARTICIPANT.fullmatch(folder.name)
        and (folder / "calibration" / "camera_params.json").is_file()
    }


def _capture(root: Path, participant: str, sequence: str, rule: DataRule) -> Capture:
    if not _PARTICIPANT.fullmatch(participant) or not _SEQUENCE.fullmatch(sequence):
        raise BenchError(
            f"got participant {participant[:40]!r} and sequence {sequence[:80]!r}, expected three "
            "digits, and letters, digits, '+', '_' and '-'"
        )
    folder = root / participant
    calibration = read_json_object(folder / "calibration" / "camera_params.json")
    calibrated = sorted(_matrices(calibration, "world_2_cam"))
    serials = [serial for serial in rule.cameras or calibrated if serial in calibrated]
    pictures = {
        serial: frame
        for serial in serials
        if (frame := _frame(folder, sequence, "images", serial, rule.frame)) is not None
    }
    if not pictures:
        raise BenchError(
            f"{folder / 'sequences' / sequence / 'images'}: no video or frame {rule.frame} of any "
            "calibrated camera is there; download the sequence with nersemble-data"
        )
    size = _size_of(next(iter(pictures.values())))
    cameras, intrinsics_note = _cameras(calibration, list(pictures), size)
    rig, _ = _cameras(calibration, calibrated, size)
    placed = placed_in_metres(rig)
    canonical = placed.to_canonical.apply_to_cameras(cameras)
    _check_rows(calibration, placed.to_canonical.apply_to_cameras(rig), calibrated)
    alphas = {
        serial: _frame(folder, sequence, "alpha_maps", serial, rule.frame) for serial in pictures
    }
    corrections = _corrections(folder, list(pictures)) if rule.color_correction else {}
    return Capture(
        id=f"{participant}/{sequence}/{rule.frame:05d}",
        subject=participant,
        dataset=DATASET,
        input_view=frontal_view(canonical),
        cameras=canonical,
        views=tuple(
            CorrectedFrame(frame, alphas[serial], corrections.get(serial), *size)
            for serial, frame in pictures.items()
        ),
        view_names=tuple(pictures),
        to_canonical=placed.to_canonical,
        strata={"sequence": sequence},
        notes={
            "frame": placed.how,
            "intrinsics": intrinsics_note,
            "alpha": _alpha_words(alphas),
            "color correction": "color_calibration.json" if corrections else "none",
        },
    )


def _alpha_words(alphas: dict[str, Frame | None]) -> str:
    matted = [serial for serial, alpha in alphas.items() if alpha is None]
    if not matted:
        return "alpha_maps"
    where = "" if len(matted) == len(alphas) else f" for {', '.join(matted)}, else alpha_maps"
    return f"matte: selfie segmentation{where}"


def _frame(folder: Path, sequence: str, what: str, serial: str, index: int) -> Frame | None:
    """Return a frame of a camera, or None where there is neither a video nor the picture."""
    base = folder / "sequences" / sequence / what / f"cam_{serial}"
    for candidate in (Frame(base.with_name(f"{base.name}.mp4"), index), Frame(base, index)):
        if candidate.file.exists():
            checked_inside(folder, candidate.file)
            return candidate
    return None


def _size_of(frame: Frame) -> tuple[int, int]:
    """Return width and height; a video's from its header, without decoding up to the frame."""
    first = Frame(frame.path, 0).read() if frame.path.suffix == ".mp4" else frame.read()
    return first.shape[-1], first.shape[-2]


def _cameras(
    calibration: JsonObject, serials: Sequence[str], size: tuple[int, int]
) -> tuple[Cameras, str]:
    """Return cameras for pictures of this size, and how their intrinsics were found."""
    poses = _matrices(calibration, "world_2_cam")
    world_to_camera = torch.tensor([poses[serial] for serial in serials], dtype=torch.float64)
    K = _intrinsics(calibration, serials)
    middle = 2 * float(K[:, 0, 2].mean())
    if abs(middle / size[0] - 1) <= _SIZE_TOLERANCE:
        note = "as stored"
    elif abs(middle / FULL_SIZE[0] - 1) <= _SIZE_TOLERANCE and (
        abs(size[0] * FULL_SIZE[1] / FULL_SIZE[0] - size[1]) <= 2
    ):
        scales = [size[0] / FULL_SIZE[0], size[1] / FULL_SIZE[1], 1.0]
        K = K * torch.tensor(scales, dtype=torch.float64)[:, None]
        note = f"scaled from {FULL_SIZE[0]} x {FULL_SIZE[1]} to {size[0]} x {size[1]} pixels"
    else:
        raise BenchError(
            f"{calibration.path}: the principal point lies at x = {middle / 2:.1f}, but the "
            f"pictures have {size[0]} x {size[1]} pixels; expected the middle, or calibration for "
            f"{FULL_SIZE[0]} x {FULL_SIZE[1]}"
        )
    cameras = cameras_from_opencv(world_to_camera.float(), K.float(), *size)
    return cameras, note


def _matrices(calibration: JsonObject, key: str) -> dict[str, list[list[float]]]:
    by_serial = calibration.values.get(key)
    if not isinstance(by_serial, dict) or not by_serial:
        calibration.refuse(key, "an object with a 4 x 4 matrix for each serial number")
    inner = JsonObject(calibration.path, f"{calibration.place}{key}.", by_serial)
    for serial in by_serial:
        if not _SERIAL.fullmatch(serial):
            inner.refuse(serial, "digits as serial number")
    return {serial: inner.matrix(serial, 4, 4) for serial in by_serial}


def _intrinsics(calibration: JsonObject, serials: Sequence[str]) -> Float[Tensor, "V 3 3"]:
    by_serial = calibration.values.get("intrinsics")
    if isinstance(by_serial, dict):
        inner = JsonObject(calibration.path, "intrinsics.", by_serial)
        matrices = [inner.matrix(serial, 3, 3) for serial in serials]
    else:
        matrices = [calibration.matrix("intrinsics", 3, 3)] * len(serials)
    return torch.tensor(matrices, dtype=torch.float64)


def _check_rows(calibration: JsonObject, rig: Cameras, serials: Sequence[str]) -> None:
    """Raise `BenchError` where the rig's upper row does not come out above its lower row."""
    heights = dict(zip(serials, rig.centers[:, 1].tolist(), strict=True))
    upper = [heights[serial] for serial in UPPER_ROW if serial in heights]
    lower = [heights[serial] for serial in LOWER_ROW if serial in heights]
    if upper and lower and sum(upper) / len(upper) <= sum(lower) / len(lower):
        raise BenchError(
            f"{calibration.path}: the cameras of the upper row stand below those of the lower row; "
            "expected OpenCV world-to-camera matrices of upright pictures"
        )


def _corrections(folder: Path, serials: Sequence[str]) -> dict[str, Float[Tensor, "3 T"]]:
    path = folder / "calibration" / "color_calibration.json"
    if not path.is_file():
        raise BenchError(
            f"{path}: the file is missing, and the protocol corrects colours; download it with "
            "nersemble-data, or override data.color_correction=false"
        )
    stored = read_json_object(path)
    return {serial: _correction(stored, serial) for serial in serials}


def _correction(stored: JsonObject, serial: str) -> Float[Tensor, "3 T"]:
    rows = stored.values.get(serial)
    columns = len(rows[0]) if isinstance(rows, list) and rows and isinstance(rows[0], list) else 0
    if columns not in TERMS:
        stored.refuse(serial, f"3 rows of {', '.join(map(str, TERMS))} numbers")
    return torch.tensor(stored.matrix(serial, 3, columns), dtype=torch.float64)
