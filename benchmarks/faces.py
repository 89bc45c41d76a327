"""Do the digital humans have faces, and one of their own? Prints one JSON object.

Run from the checkout's root: ``python -m benchmarks.faces [--heads 200] [--size 512]``.

Each person of `--heads` seeds shows a neutral face and another expression by lot, from the front
and from 20 degrees on either side. Two questions:

* ``found``: in how many pictures a face detector sees a face. FaceMesh counts from a presence of
  0.5 on, as everywhere here; dlib's detector beside it where dlib is installed.
* ``separation``: how far embeddings of one person (neutral from the front, the other expression
  turned by 20 degrees) lie from those of different persons (both neutral, from the front). For
  MobileFaceNet as a cosine, for dlib's network as a distance, where it calls two persons the same
  under 0.6.

dlib is for this alone and in no extra: ``pip install dlib-bin==20.0.1.post1
face_recognition_models==0.3.0 "setuptools<81"``.
"""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from a3d_bench.metrics.identity import load_mobilefacenet
from any3davatar.anyhead import people
from any3davatar.anyhead.subsets.digital_human import expressions_of
from any3davatar.core.images import composite
from any3davatar.core.rigs import orbit
from any3davatar.faces import FaceMesh

AZIMUTHS_DEG = (0.0, 20.0, -20.0)
FRONT, TURNED = 0, 1
FIRST_SEED = 50_000  # of evaluation persons that no set uses
SAME_UNDER = 0.6  # dlib's own threshold

Detector = Callable[[Tensor], bool]
Embedder = Callable[[Tensor], np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Judge:
    """A detector and a recogniser.

    Attributes:
        name: of both.
        sees: whether a picture shows a face.
        embed: the embedding of the face, or None.
        apart: what two embeddings differ by.
    """

    name: str
    sees: Detector
    embed: Embedder
    apart: Callable[[np.ndarray, np.ndarray], float]


def mediapipe_judge() -> Judge:
    """FaceMesh and MobileFaceNet, fetched through pip and npm."""
    mesh, network = FaceMesh.load(), load_mobilefacenet()

    def embed(rgb: Tensor) -> np.ndarray | None:
        described = network.describe(rgb)
        return None if described is None else described.numpy()

    return Judge(
        "facemesh, mobilefacenet (cosine)",
        lambda rgb: mesh.detect_large(rgb) is not None,
        embed,
        lambda a, b: float(a @ b),
    )


def dlib_judge() -> Judge | None:
    """Return dlib's frontal detector and its ResNet, or None where they are not installed."""
    if any(find_spec(name) is None for name in ("dlib", "face_recognition_models")):
        return None
    dlib: Any = import_module("dlib")  # no type checker sees into it, nor need it be there
    files: Any = import_module("face_recognition_models")
    detector = dlib.get_frontal_face_detector()
    points = dlib.shape_predictor(files.pose_predictor_five_point_model_location())
    network = dlib.face_recognition_model_v1(files.face_recognition_model_location())

    def box(rgb: Tensor) -> tuple[np.ndarray, Any]:
        picture = np.ascontiguousarray((rgb * 255).round().byte().movedim(0, -1).numpy())
        found = detector(picture, 1)
        return picture, max(found, key=lambda each: each.area()) if found else None

    def embed(rgb: Tensor) -> np.ndarray | None:
        picture, found = box(rgb)
        if found is None:
            return None
        return np.array(network.compute_face_descriptor(picture, points(picture, found)))

    return Judge(
        "dlib (distance)",
        lambda rgb: box(rgb)[1] is not None,
        embed,
        lambda a, b: float(np.linalg.norm(a - b)),
    )


def pictures_of(seed: int, size_px: int) -> dict[tuple[str, int], Tensor]:
    """Return (expression, index of azimuth) -> (3, H, W) before grey."""
    someone = people.person(seed)
    cameras = orbit(AZIMUTHS_DEG, [0.0] * len(AZIMUTHS_DEG), size_px=size_px)
    shown = {}
    for name in expressions_of(seed, 2):
        views = people.draw(people.with_expression(someone, name), cameras, supersampling=2)
        over = composite(views.rgb, views.alpha, torch.tensor([0.5, 0.5, 0.5]))
        shown.update({(name, k): over[k] for k in range(len(AZIMUTHS_DEG))})
    return shown


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Summarise a distribution."""
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {
        "mean": round(statistics.fmean(values), 4),
        "p5": round(float(low), 4),
        "median": round(float(middle), 4),
        "p95": round(float(high), 4),
        "pairs": len(values),
    }


def area_under_curve(within: Sequence[float], between: Sequence[float]) -> float:
    """Return how often a pair of one person is nearer than a pair of two; larger is nearer."""
    order = np.sort(between)
    return float(np.mean(np.searchsorted(order, within) / len(order)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Are the digital humans' faces faces?")
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judges = [judge for judge in (mediapipe_judge(), dlib_judge()) if judge is not None]
    found = {judge.name: {} for judge in judges}
    unseen: dict[str, list[str]] = {judge.name: [] for judge in judges}
    neutral: dict[str, list[np.ndarray]] = {judge.name: [] for judge in judges}
    within: dict[str, list[float]] = {judge.name: [] for judge in judges}
    for index in range(options.heads):
        seed = FIRST_SEED + index
        shown = pictures_of(seed, options.size)
        first, second = dict.fromkeys(name for name, _ in shown)
        for judge in judges:
            for (name, view), rgb in shown.items():
                kind = f"{'neutral' if name == first else 'other'}, {AZIMUTHS_DEG[view]:+.0f}"
                seen = judge.sees(rgb)
                found[judge.name].setdefault(kind, []).append(seen)
                if not seen:
                    unseen[judge.name].append(f"{seed} {name} {AZIMUTHS_DEG[view]:+.0f}")
            a = judge.embed(shown[first, FRONT])
            b = judge.embed(shown[second, TURNED])
            if a is not None:
                neutral[judge.name].append(a)
            if a is not None and b is not None:
                within[judge.name].append(judge.apart(a, b))
        if index % 20 == 19:
            print(f"{index + 1} heads", file=sys.stderr, flush=True)
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "heads": options.heads,
        "first_seed": FIRST_SEED,
        "size_px": options.size,
        "judges": {},
    }
    for judge in judges:
        name, same = judge.name, within[judge.name]
        between = [judge.apart(a, b) for a, b in combinations(neutral[name], 2)]
        sign = -1 if "distance" in name else 1
        row: dict[str, Any] = {
            "found": {kind: f"{sum(seen)} of {len(seen)}" for kind, seen in found[name].items()},
            "unseen": unseen[name],
            "within": quantiles(same),
            "between": quantiles(between),
            "one_person_is_nearer": area_under_curve(
                [sign * v for v in same], [sign * v for v in between]
            ),
        }
        if "distance" in name:
            row["between_under_0.6"] = float(np.mean(np.array(between) < SAME_UNDER))
            row["within_under_0.6"] = float(np.mean(np.array(same) < SAME_UNDER))
        report["judges"][name] = row
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
