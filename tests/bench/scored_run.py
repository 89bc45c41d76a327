"""Runs to score: small pictures that are deterministic, and predictions of known quality."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from a3d_bench.names import slug
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.store import CaptureRow, RunFolder, ViewRow
from a3d_bench.types import Prediction, Seconds, stratum_of
from any3davatar.io import write_png

SIZE_PX = 32
AZIMUTHS_DEG = (0.0, 90.0, 180.0)


def protocol(*metrics: str, size_px: int = SIZE_PX) -> Protocol:
    """Return the smoke protocol with other metrics."""
    return load_protocol("smoke", [f"picture.size_px={size_px}", f"metrics=[{','.join(metrics)}]"])


def picture(seed: int, size_px: int = SIZE_PX, noise: float = 0.2) -> Tensor:
    """Return a smooth picture with noise, in 255ths."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 4, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, (size_px, size_px), mode="bicubic")[0]
    noisy = smooth + noise * torch.randn(3, size_px, size_px, generator=g)
    return (noisy.clamp(0, 1) * 255).round() / 255


def write_scored_run(
    path: Path,
    rules: Protocol,
    *,
    methods: Mapping[str, float],
    captures: int = 2,
    views: int = len(AZIMUTHS_DEG),
) -> RunFolder:
    """Write a run up to its predictions.

    Args:
        path: the folder.
        rules: the protocol.
        methods: id to the standard deviation of its pictures' error.
        captures: how many.
        views: of each.
    """
    run = RunFolder(path)
    run.write_protocol(rules)
    run.write_run({"methods": {method: {} for method in methods}})
    size_px = rules.picture.size_px
    rows = []
    for c in range(captures):
        id_ = f"made/head-{c}"
        angles = [AZIMUTHS_DEG[v % len(AZIMUTHS_DEG)] for v in range(views)]
        seen = []
        for v, angle in enumerate(angles):
            truth = run.truth_path(slug(id_), v)
            truth.parent.mkdir(parents=True, exist_ok=True)
            alpha = torch.ones(1, size_px, size_px)
            alpha[:, :4] = 0.5 if v else 0.0
            write_png(truth, picture(97 * c + v, size_px), alpha)
            digest = hashlib.sha256(truth.read_bytes()).hexdigest()
            seen.append(ViewRow(f"view-{v}", angle, 0.0, stratum_of(angle), digest))
        rows.append(CaptureRow(id_, slug(id_), f"head-{c}", "made", 0, {}, {}, tuple(seen)))
    run.write_captures(rows)
    for method, error in methods.items():
        for row in rows:
            _write_prediction(run, rules, method, error, row)
    return run


def _write_prediction(
    run: RunFolder, rules: Protocol, method: str, error: float, row: CaptureRow
) -> None:
    from a3d_bench.scoring import read_truth

    files = {}
    for v in range(len(row.views)):
        truth = read_truth(run.truth_path(row.slug, v), rules.picture.background)
        g = torch.Generator().manual_seed(v)
        path = run.view_path(method, row.slug, v)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, truth + error * torch.randn(truth.shape, generator=g))
        files[f"views/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    made = Prediction(
        rules.digest, method, row.id, row.subject, "ok", "", files, Seconds(infer=1.5)
    )
    run.write_prediction(row.slug, made)
