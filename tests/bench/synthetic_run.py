"""Run folders made of nothing: known scores, small pictures, and every kind of failure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from a3d_bench.names import slug
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.store import CaptureRow, RunFolder, ViewRow
from a3d_bench.types import Prediction, Score, Seconds, Status, stratum_of

HOSTILE = '<script>alert("x")</script> & "quoted" | _b_ $'
"""A title that a stranger might choose."""


@dataclass(frozen=True)
class FakeMethod:
    """A method that is as good as it is told to be.

    Attributes:
        id: of the method.
        title: of its card.
        quality: added to every value of psnr, in dB.
        sees_truth: of its card.
        crashes_on: index of a subject without any view, or None.
        wrong_size: indices of views, of every subject, that are of another size.
        paper_name: of its card.
        device: that it claims to run on.
    """

    id: str
    title: str
    quality: float
    sees_truth: bool = False
    crashes_on: int | None = None
    wrong_size: tuple[int, ...] = ()
    paper_name: str | None = None
    device: str = "cpu: test"


METHODS = (
    FakeMethod("oracle", "Oracle", 12, sees_truth=True),
    FakeMethod("good", "Good", 4, paper_name="Any3DAvatar"),
    FakeMethod("plain", HOSTILE, 0, wrong_size=(2,)),
    FakeMethod("faulty", "Faulty", -2, crashes_on=1, device="cuda: test"),
)


def smoke(*overrides: str) -> Protocol:
    """Return the smoke protocol with changes."""
    return load_protocol("smoke", overrides)


def write_run(
    path: Path,
    *,
    protocol: Protocol | None = None,
    methods: Sequence[FakeMethod] = METHODS,
    subjects: int = 3,
    views: int = 8,
    size_px: int = 32,
    pictures: bool = True,
    dataset: str = "anyhead-mini",
    networks: Mapping[str, str] | None = None,
) -> RunFolder:
    """Write a run folder and return it."""
    protocol = smoke() if protocol is None else protocol
    run = RunFolder(path)
    run.write_run(
        {
            "command": ["a3d-bench", "run", "--protocol", protocol.name],
            "methods": {
                method.id: {
                    "card": {
                        "title": method.title,
                        "sees_truth": method.sees_truth,
                        "paper_name": method.paper_name,
                        "output": "gaussians",
                    }
                }
                for method in methods
            },
            "networks": dict(networks or {}),
            "software": {"commit": None, "packages": {"torch": "2.11", "numpy": "2.4"}},
        }
    )
    run.write_protocol(protocol)
    captures = [_capture(index, views, dataset) for index in range(subjects)]
    run.write_captures(captures)
    scores: list[Score] = []
    for capture_index, capture in enumerate(captures):
        truths = [_head(capture_index, view.azimuth_deg, size_px) for view in capture.views]
        if pictures:
            for view, truth in enumerate(truths):
                _write(run.truth_path(capture.slug, view), truth)
        for method in methods:
            crashed = method.crashes_on == capture_index
            run.write_prediction(capture.slug, _prediction(protocol, method, capture, crashed))
            if pictures and not crashed:
                _write_views(run, method, capture, truths)
            scores.extend(_scores(protocol, method, capture, capture_index, crashed))
    run.write_scores(scores)
    if pictures and any(method.wrong_size for method in methods):
        _write_findings(run, methods, captures[0])
    return run


def _capture(index: int, views: int, dataset: str) -> CaptureRow:
    columns = max(1, views // 2)
    rows = tuple(
        ViewRow(
            f"{view:03d}",
            azimuth := 360.0 * (view % columns) / columns,
            0.0 if view < columns else 15.0,
            stratum_of(azimuth),
            f"{index:02d}{view:03d}" * 8,
        )
        for view in range(views)
    )
    identifier = f"head-{index:02d}/neutral"
    accessory = "hat" if index % 2 else "none"
    return CaptureRow(
        identifier,
        slug(identifier),
        f"head-{index:02d}",
        dataset,
        0,
        {"accessory": accessory},
        {},
        rows,
    )


def _prediction(
    protocol: Protocol, method: FakeMethod, capture: CaptureRow, crashed: bool
) -> Prediction:
    return Prediction(
        protocol.digest,
        method.id,
        capture.id,
        capture.subject,
        "method_error" if crashed else "ok",
        "it fell over <b>here</b>" if crashed else "",
        {},
        Seconds(load=2.0, infer=0.5 + 0.01 * len(method.id), render=0.004, render_p95=0.006),
        "harness",
        500_000_000,
        None,
        method.device,
    )


def _scores(
    protocol: Protocol, method: FakeMethod, capture: CaptureRow, index: int, crashed: bool
) -> list[Score]:
    generator = np.random.default_rng([index, len(method.id)])
    made = []
    for number, view in enumerate(capture.views):
        status: Status = "ok"
        reason = ""
        if crashed:
            status, reason = "method_error", "it fell over <b>here</b>"
        elif number in method.wrong_size:
            status, reason = "wrong_size", "16 x 16, expected 32 x 32"
        away = abs((view.azimuth_deg + 180) % 360 - 180)
        psnr = 18 + method.quality - away / 30 + index + generator.normal(0, 0.3)
        for alignment in protocol.alignment.reported:
            for metric in protocol.metrics:
                value = psnr if metric == "psnr" else 1 / (1 + np.exp(-(psnr - 12) / 6))
                if metric.startswith(("lpips", "dreamsim", "flip")):
                    value = 1 - value
                made.append(
                    Score(
                        method.id,
                        capture.id,
                        capture.subject,
                        number,
                        view.name,
                        view.azimuth_deg,
                        view.elevation_deg,
                        view.stratum,
                        number == capture.input_view,
                        alignment,
                        metric,
                        float(value) if status == "ok" else None,
                        status,
                        reason,
                        0.5,
                        500_000_000,
                        None,
                        "",
                        view.truth_sha256,
                    )
                )
    return made


def _write_views(
    run: RunFolder, method: FakeMethod, capture: CaptureRow, truths: Sequence[np.ndarray]
) -> None:
    for view, truth in enumerate(truths):
        seen = truth
        if view in method.wrong_size:
            seen = truth[::2, ::2]
        elif not method.sees_truth:
            shift = max(1, round((6 - method.quality) / 3))
            seen = np.roll(truth, shift, axis=1)
        alpha = seen[..., 3:] / 255
        over = np.round(seen[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        _write(run.view_path(method.id, capture.slug, view), over)


def _write_findings(run: RunFolder, methods: Sequence[FakeMethod], capture: CaptureRow) -> None:
    method = next(method for method in methods if method.wrong_size)
    folder = run.capture_folder("validation", method.id, capture.slug)
    thumbnail = folder.parent / "thumbnails" / "002.png"
    _write(thumbnail, _head(0, 0, 32))
    findings = [
        {
            "kind": "wrong_size",
            "view": 2,
            "message": "16 x 16 pixels, expected 32 x 32",
            "thumbnail": "thumbnails/002.png",
        }
    ]
    folder.with_name(f"{folder.name}.json").write_text(json.dumps(findings))


def _head(subject: int, azimuth_deg: float, size_px: int) -> np.ndarray:
    """Return an RGBA drawing of a head that turns: an ellipse with eyes that wander."""
    y, x = (np.mgrid[0:size_px, 0:size_px] + 0.5) / size_px * 2 - 1
    inside = (x / 0.62) ** 2 + (y / 0.8) ** 2 < 1
    skin = np.array([[0.87, 0.68, 0.56], [0.55, 0.38, 0.28], [0.95, 0.8, 0.7]])[subject % 3]
    rgb = np.broadcast_to(skin, (size_px, size_px, 3)).copy()
    rgb *= (1 - 0.35 * (x[..., None] + 0.5) ** 2 - 0.1 * y[..., None]).clip(0.3, 1)
    hair = y < -0.35 + 0.1 * np.cos(6 * x)
    rgb[hair] = [0.25, 0.16, 0.1]
    angle = np.radians(azimuth_deg)
    for side in (-0.35, 0.35):
        turned = np.arcsin(side) - angle
        if np.cos(turned) > 0.1:
            eye = ((x - 0.62 * np.sin(turned)) / 0.1) ** 2 + ((y + 0.05) / 0.07) ** 2 < 1
            rgb[eye] = [0.1, 0.15, 0.3]
    rgba = np.concatenate([rgb, inside[..., None].astype(float)], axis=-1)
    return np.round(rgba * 255).astype(np.uint8)


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
