"""Align a method's views of one capture: read, estimate, move, write, record."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.align.diagnosis import (
    frame_words,
    mirror_image_words,
    mirrored_words,
    unseen_words,
)
from a3d_bench.align.landmarks import (
    Landmarks,
    Triangulated,
    correct,
    fit_landmarks,
    landmarks_of,
    triangulate,
)
from a3d_bench.align.loading import TruthViews, read_predicted, read_truth, sha256_of_file
from a3d_bench.align.photometric import (
    Refined,
    better_start,
    refine,
    turn_deg,
)
from a3d_bench.align.plane import PlaneSimilarity, fit_plane_similarity, warped
from a3d_bench.align.record import (
    AlignedView,
    AlignmentRecord,
    read_alignment,
    write_alignment,
)
from a3d_bench.align.refusal import RESIDUAL_MAX, apart_px, overlap, refusal
from a3d_bench.protocol import Protocol
from a3d_bench.store import CaptureRow, RunFolder
from a3d_bench.types import Alignment
from any3davatar.core import Cameras, Gaussians, InvalidInput, Similarity
from any3davatar.faces import FaceMesh
from any3davatar.io import FormatError, atomic_path, read_gaussians, write_png
from any3davatar.render import render

VERSION = "3"  # of the procedure: raise it when any aligned picture may change
VIEWS_MIN = 2  # that show a face: fewer leave depth open
UNMOVED = (
    "as it was, the prediction was nearer to the truth than by its landmarks: it started from there"
)
SAME_PICTURE_DB = 28.0  # our render of a method's Gaussians against its own picture
SAME_PICTURE_VIEWS = 4


@dataclass(frozen=True, eq=False)
class _Subject:
    """All that is known of a capture and of what a method left for it."""

    background: Float[Tensor, "3"]
    cameras: Cameras
    truth: TruthViews
    truth_landmarks: Landmarks
    predicted: dict[int, Float[Tensor, "3 H W"]]
    landmarks: Landmarks
    gaussians: Gaussians | None
    notes: tuple[str, ...]

    @property
    def both(self) -> list[int]:
        """Views that show a face in truth and prediction."""
        return (self.truth_landmarks.seen & self.landmarks.seen).nonzero()[:, 0].tolist()

    def counts(self) -> dict[str, float]:
        """Return what the landmarks are before anything is done."""
        apart = [
            float((self.landmarks.points[v] - self.truth_landmarks.points[v]).norm(dim=1).median())
            for v in self.both
        ]
        numbers = {
            "views_with_face_truth": float(self.truth_landmarks.seen.sum()),
            "views_with_face_prediction": float(self.landmarks.seen.sum()),
        }
        return numbers | ({"landmarks_apart_before_px": median(apart)} if apart else {})


@lru_cache(maxsize=1)
def _faces() -> FaceMesh:
    return FaceMesh.load()


def align(
    run: RunFolder, method: str, capture_row: CaptureRow, alignment: Alignment, protocol: Protocol
) -> AlignmentRecord:
    """Align a method's views of a capture, write them, and return the record of it.

    ``RUN/aligned/{alignment}/{method}/{capture}`` gets ``views/NNN.png`` for each view that the
    method left, then ``alignment.json``. Where a record of the same inputs is there already,
    nothing is done. Nothing is written for ``none``.

    Raises:
        RegistryFileUnavailable: the landmark network is neither in the cache nor to be fetched.
        BenchError: the run is damaged.
    """
    inputs = _inputs(run, method, capture_row, alignment, protocol)
    if alignment == "none":
        return AlignmentRecord("none", method, capture_row.id, "ok", "", inputs)
    known = read_alignment(run, method, capture_row.slug, alignment)
    if known is not None and known.inputs == inputs and _is_whole(run, capture_row, known):
        return known
    folder = run.aligned_folder(alignment, method, capture_row.slug)
    if folder.exists():
        shutil.rmtree(folder)
    record = _aligned(run, method, capture_row, alignment, protocol, inputs)
    write_alignment(run, capture_row.slug, record)
    return record


def _aligned(
    run: RunFolder,
    method: str,
    row: CaptureRow,
    alignment: Alignment,
    protocol: Protocol,
    inputs: str,
) -> AlignmentRecord:
    def failed(reason: str, diagnosis: tuple[str, ...] = ()) -> AlignmentRecord:
        return AlignmentRecord(alignment, method, row.id, "failed", reason, inputs, diagnosis)

    prediction = run.prediction(method, row.slug)
    if prediction is None or prediction.status != "ok":
        return failed(prediction.reason if prediction else "the method was not run on it")
    subject = _read(run, method, row, protocol)
    if not subject.predicted:
        return failed("none of the views can be read")
    try:
        if alignment == "landmark2d":
            return _landmark2d(run, method, row, subject, inputs)
        return _sim3(run, method, row, subject, inputs)
    except _NoAlignment as error:
        words = tuple(
            unseen_words(
                subject.predicted,
                subject.truth.alpha,
                subject.background,
                subject.gaussians,
                subject.cameras,
                _faces(),
            )
        )
        return failed(str(error), words)


class _NoAlignment(Exception):
    """There is nothing to align by."""


def _read(run: RunFolder, method: str, row: CaptureRow, protocol: Protocol) -> _Subject:
    background = torch.tensor(protocol.picture.background)
    cameras = run.cameras(row.slug)
    truth = read_truth(run, row, background)
    predicted = read_predicted(run, method, row, (cameras.height, cameras.width))
    gaussians, notes = _gaussians(run, method, row, predicted, cameras, background)
    return _Subject(
        background=background,
        cameras=cameras,
        truth=truth,
        truth_landmarks=_truth_landmarks(run, row, truth, protocol),
        predicted=predicted,
        landmarks=landmarks_of([predicted.get(v) for v in range(len(row.views))], _faces()),
        gaussians=gaussians,
        notes=notes,
    )


def _gaussians(
    run: RunFolder,
    method: str,
    row: CaptureRow,
    predicted: Mapping[int, Tensor],
    cameras: Cameras,
    background: Tensor,
) -> tuple[Gaussians | None, tuple[str, ...]]:
    """Return a method's Gaussians if they are what its pictures show."""
    path = run.capture_folder("predictions", method, row.slug) / "gaussians.ply"
    if not path.is_file():
        return None, ()
    try:
        gaussians = read_gaussians(path)
    except (FormatError, OSError) as error:
        return None, (f"gaussians.ply can't be read ({error}): views are warped",)
    views = list(predicted)[:: max(1, len(predicted) // SAME_PICTURE_VIEWS)]
    if not views:
        return None, ()
    ours = render(gaussians, cameras[views], background).rgb.clamp(0, 1)
    errors = [float((o - predicted[v]).square().mean()) for o, v in zip(ours, views, strict=True)]
    level = -10 * math.log10(max(median(errors), 1e-12))
    if level < SAME_PICTURE_DB:
        return None, (
            f"gaussians.ply renders to other pictures than the method's own ({level:.1f} dB, "
            f"expected {SAME_PICTURE_DB:g}): views are warped",
        )
    return gaussians, (f"gaussians.ply renders to the method's own pictures ({level:.1f} dB)",)


def _truth_landmarks(
    run: RunFolder, row: CaptureRow, truth: TruthViews, protocol: Protocol
) -> Landmarks:
    """Return the truth's landmarks, found once for all methods and alignments of a run."""
    digest = hashlib.sha256(
        json.dumps([VERSION, protocol.digest, [v.truth_sha256 for v in row.views]]).encode()
    ).hexdigest()
    path = run.path / "landmarks" / f"{row.slug}-{digest[:16]}.npy"
    try:
        stored = np.load(path, allow_pickle=False)
        if stored.shape == (len(row.views), 468, 2) and stored.dtype == np.float32:
            points = torch.from_numpy(stored)
            return Landmarks(points.nan_to_num(0), ~points[:, 0, 0].isnan())
    except (OSError, ValueError):
        pass
    found = landmarks_of([truth.rgb[v] for v in range(len(row.views))], _faces())
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, found.points.masked_fill(~found.seen[:, None, None], math.nan).numpy())
    return found


def _landmark2d(
    run: RunFolder, method: str, row: CaptureRow, subject: _Subject, inputs: str
) -> AlignmentRecord:
    if not subject.both:
        raise _NoAlignment("no view shows a face in truth and prediction")
    cameras = subject.cameras
    fitted = {
        v: fit_plane_similarity(subject.landmarks.points[v], subject.truth_landmarks.points[v])
        for v in subject.both
    }
    middle = (cameras.width / 2, cameras.height / 2)
    typical = _median_similarity([f for f, _ in fitted.values()], middle)
    views: list[AlignedView] = []
    pictures: dict[int, Tensor] = {}
    for v in range(len(row.views)):
        if v not in subject.predicted:
            views.append(AlignedView(v, "absent"))
            continue
        similarity, residual = fitted.get(v, (typical, None))
        pictures[v] = warped(subject.predicted[v], similarity, subject.background)
        sha256 = _write(run, "landmark2d", method, row, v, pictures[v])
        shift = similarity.shift_at(*middle)
        views.append(
            AlignedView(
                v,
                "median" if residual is None else "warped",
                similarity.scale,
                math.degrees(similarity.angle_rad),
                shift,
                residual,
                sha256,
            )
        )
    after = median([r for _, r in fitted.values()])
    grown = 1 / typical.scale
    words = mirror_image_words(pictures, subject.truth.rgb, cameras)
    if not 0.55 <= grown <= 1.8:
        words.append(f"the head is about {grown:.3g} times as large as the truth")
    return AlignmentRecord(
        "landmark2d",
        method,
        row.id,
        "ok",
        "",
        inputs,
        diagnosis=tuple(words),
        numbers=subject.counts() | {"landmarks_apart_after_px": after},
        views=tuple(views),
    )


def _median_similarity(
    similarities: list[PlaneSimilarity], middle: tuple[float, float]
) -> PlaneSimilarity:
    """Return the median of scale, angle, and of how the picture's middle moves."""
    shifts = [s.shift_at(*middle) for s in similarities]
    x, y = (median([shift[k] for shift in shifts]) for k in range(2))
    scale = math.exp(median([math.log(s.scale) for s in similarities]))
    angle = median([s.angle_rad for s in similarities])
    return PlaneSimilarity.about(scale, angle, middle, (middle[0] + x, middle[1] + y))


def _sim3(
    run: RunFolder, method: str, row: CaptureRow, subject: _Subject, inputs: str
) -> AlignmentRecord:
    if int(subject.truth_landmarks.seen.sum()) < VIEWS_MIN:
        raise _NoAlignment(
            f"{int(subject.truth_landmarks.seen.sum())} views of the truth show a face; landmarks "
            f"in space need {VIEWS_MIN}"
        )
    return _moved_and_recorded(run, method, row, subject, inputs, _by_landmarks(subject))


@dataclass(frozen=True, eq=False)
class _Found:
    """A similarity from prediction to truth, and how it was found.

    Attributes:
        similarity: what the prediction is to be moved by.
        diagnosis: what looks wrong with the prediction's frame.
        numbers: residuals.
        notes: what was decided on the way.
        nothing: why nothing could be found; empty where something was.
    """

    similarity: Similarity
    diagnosis: tuple[str, ...]
    numbers: Mapping[str, float]
    notes: tuple[str, ...] = ()
    nothing: str = ""


def _by_landmarks(subject: _Subject) -> _Found:
    """Find where a prediction lies by its landmarks in space, where these are of a head."""
    seen = int(subject.landmarks.seen.sum())
    if seen < VIEWS_MIN:
        words = unseen_words(
            subject.predicted,
            subject.truth.alpha,
            subject.background,
            subject.gaussians,
            subject.cameras,
            _faces(),
        )
        why = f"{seen} views of the prediction show a face; landmarks in space need {VIEWS_MIN}"
        return _by_pictures(subject, why, tuple(words), {})
    target = triangulate(subject.truth_landmarks, subject.cameras)
    source = triangulate(subject.landmarks, subject.cameras)
    words = mirrored_words(source, target)
    numbers = {"triangulation_px": source.residual_px}
    try:
        fitted, residual = fit_landmarks(source, target)
    except InvalidInput as error:
        why = f"its landmarks fit the truth's by no similarity: {error}"
        return _by_pictures(subject, why, tuple(words), numbers)
    numbers["landmarks_residual"] = residual
    if residual > RESIDUAL_MAX:
        why = (
            f"placed as well as can be, its landmarks are {residual:.3f} of the unit sphere from "
            f"the truth's, expected at most {RESIDUAL_MAX:g}: they are of no one head"
        )
        return _by_pictures(subject, why, tuple(words), numbers)
    similarity = _single(fitted)
    words += frame_words(similarity)
    if subject.gaussians is None:
        return _Found(similarity, tuple(words), numbers)
    similarity, more, unmoved = _by_rendering(similarity, target, subject, subject.gaussians)
    notes = (UNMOVED,) if unmoved else ()
    return _Found(similarity, tuple(words), numbers | more, notes)


def _by_pictures(
    subject: _Subject, why: str, words: tuple[str, ...], numbers: Mapping[str, float]
) -> _Found:
    """Find where a prediction lies by its pictures alone, if it can be rendered again.

    Args:
        subject: whose landmarks tell nothing.
        why: they do not.
        words: the diagnosis so far.
        numbers: residuals so far.
    """
    if subject.gaussians is None:
        return _Found(Similarity.identity(), words, numbers, nothing=why)
    order, truth = _stacked_truth(subject)
    refined = refine(
        Similarity.identity(), subject.gaussians, truth, subject.cameras[order], subject.background
    )
    notes = (f"{why}: it was placed by its pictures alone",)
    return _Found(refined.similarity, words, {**numbers, **_numbers_of(refined)}, notes)


def _moved_and_recorded(
    run: RunFolder, method: str, row: CaptureRow, subject: _Subject, inputs: str, found: _Found
) -> AlignmentRecord:
    """Move a prediction by what was found, if that holds; write its views, and the record."""
    raw = _Moved("kept", dict(subject.predicted), subject.landmarks, {})
    moved = raw if found.nothing else _moved(found.similarity, subject)
    why = found.nothing or refusal(
        apart_px(raw.landmarks, moved.landmarks, subject.truth_landmarks),
        overlap(raw.pictures, subject.truth.alpha, subject.background),
        overlap(moved.pictures, subject.truth.alpha, subject.background),
    )
    similarity, numbers = found.similarity, subject.counts() | dict(found.numbers)
    if why:
        similarity, moved = Similarity.identity(), raw
        numbers |= {} if found.nothing else _refused_numbers(found.similarity)
    views, after = _written(run, method, row, subject, moved)
    if after:
        numbers["landmarks_apart_after_px"] = median(after)
    words = mirror_image_words(moved.pictures, subject.truth.rgb, subject.cameras)
    return AlignmentRecord(
        "sim3",
        method,
        row.id,
        "ok",
        "",
        inputs,
        diagnosis=(*found.diagnosis, *words),
        similarity=_as_json(similarity),
        numbers=numbers,
        notes=(*subject.notes, *found.notes),
        kept=f"kept raw: {why}" if why else "",
        views=views,
    )


@dataclass(frozen=True, eq=False)
class _Moved:
    """A prediction's pictures, by view.

    Attributes:
        how: they came about.
        pictures: under a similarity, or as the method left them.
        landmarks: of the views whose truth shows a face; of all where kept.
        plane: how each was warped; empty otherwise.
    """

    how: Literal["rendered", "warped", "kept"]
    pictures: dict[int, Float[Tensor, "3 H W"]]
    landmarks: Landmarks
    plane: Mapping[int, PlaneSimilarity]


def _moved(similarity: Similarity, subject: _Subject) -> _Moved:
    """Render a prediction under a similarity; warp its pictures where there is nothing else."""
    pictures: dict[int, Tensor] = {}
    plane: dict[int, PlaneSimilarity] = {}
    if subject.gaussians is None:
        for v, picture in subject.predicted.items():
            plane[v] = induced(similarity, subject.cameras[v])
            pictures[v] = warped(picture, plane[v], subject.background)
    else:
        gaussians = similarity.apply_to_gaussians(subject.gaussians)
        for v in subject.predicted:
            drawn = render(gaussians, subject.cameras[[v]], subject.background).rgb[0]
            pictures[v] = drawn.clamp(0, 1)
    seen = subject.truth_landmarks.seen.tolist()
    looked_at = [pictures.get(v) if face else None for v, face in enumerate(seen)]
    how = "warped" if subject.gaussians is None else "rendered"
    return _Moved(how, pictures, landmarks_of(looked_at, _faces()), plane)


def _refused_numbers(similarity: Similarity) -> dict[str, float]:
    return {
        "refused_scale": similarity.scale,
        "refused_turned_deg": turn_deg(similarity.rotation),
        "refused_shift": float(similarity.translation.norm()),
    }


def _as_json(similarity: Similarity) -> dict[str, object]:
    return {
        "scale": similarity.scale,
        "rotation": similarity.rotation.tolist(),
        "translation": similarity.translation.tolist(),
        "turned_deg": turn_deg(similarity.rotation),
    }


def _stacked_truth(subject: _Subject) -> tuple[list[int], Float[Tensor, "V 4 H W"]]:
    """Return the views that have a truth, and their colour and alpha."""
    order = sorted(subject.truth.rgb)
    return order, torch.stack(
        [torch.cat([subject.truth.rgb[v], subject.truth.alpha[v]]) for v in order]
    )


def _numbers_of(refined: Refined) -> dict[str, float]:
    return {
        "refined_deg": refined.turned_deg,
        "picture_error_before": refined.error_before,
        "picture_error_after": refined.error_after,
    }


def _by_rendering(
    start: Similarity, target: Triangulated, subject: _Subject, gaussians: Gaussians
) -> tuple[Similarity, dict[str, float], bool]:
    """Improve a similarity by looking again at the prediction under it; see `correct`, `refine`.

    Landmarks of few views, or of a poor face, can be further off than the prediction was: where
    its own pictures are nearer to the truth, that is where the refinement starts. The last value
    tells so.
    """
    seen = subject.truth_landmarks.seen.nonzero()[:, 0].tolist()
    moved = start.apply_to_gaussians(gaussians)
    drawn: list[Tensor | None] = [
        render(moved, subject.cameras[[v]], subject.background).rgb[0].clamp(0, 1) for v in seen
    ]
    rendered = landmarks_of(drawn, _faces())
    if int(rendered.seen.sum()) >= VIEWS_MIN:
        closer, _ = correct(
            start,
            rendered,
            subject.truth_landmarks.subset(seen),
            target.points,
            subject.cameras[seen],
        )
        start = _single(closer)
    order, truth = _stacked_truth(subject)
    seen_by = subject.cameras[order]
    starts = (start, Similarity.identity())
    chosen = better_start(starts, gaussians, truth, seen_by, subject.background)
    refined = refine(starts[chosen], gaussians, truth, seen_by, subject.background)
    return refined.similarity, _numbers_of(refined), chosen == 1


def induced(similarity: Similarity, camera: Cameras) -> PlaneSimilarity:
    """Return how a similarity of space moves a camera's picture around the head's centre.

    The centre is what comes to lie at the origin. Scale follows the similarity and the change of
    depth; the angle is what of the rotation turns the picture in its plane.
    """
    centers = torch.stack([similarity.inverse().apply(torch.zeros(3)), torch.zeros(3)])
    pixels, depths = camera.project(centers.to(camera.K))
    in_camera = camera.world_to_camera[:3, :3]
    turned = in_camera @ similarity.rotation.to(in_camera) @ in_camera.T
    angle = math.atan2(float(turned[1, 0] - turned[0, 1]), float(turned[0, 0] + turned[1, 1]))
    scale = similarity.scale * float(depths[0] / depths[1])
    (x0, y0), (x1, y1) = pixels.tolist()
    return PlaneSimilarity.about(abs(scale), angle, (x0, y0), (x1, y1))


def _written(
    run: RunFolder, method: str, row: CaptureRow, subject: _Subject, moved: _Moved
) -> tuple[tuple[AlignedView, ...], list[float]]:
    """Write aligned pictures; return what became of each, and how far landmarks are apart."""
    middle = (subject.cameras.width / 2, subject.cameras.height / 2)
    both = moved.landmarks.seen & subject.truth_landmarks.seen
    views: list[AlignedView] = []
    after: list[float] = []
    for v in range(len(row.views)):
        if v not in moved.pictures:
            views.append(AlignedView(v, "absent"))
            continue
        residual = None
        if both[v]:
            apart = moved.landmarks.points[v] - subject.truth_landmarks.points[v]
            residual = float(apart.norm(dim=1).median())
            after.append(residual)
        sha256 = _write(run, "sim3", method, row, v, moved.pictures[v])
        view = AlignedView(v, moved.how, residual_px=residual, sha256=sha256)
        if v in moved.plane:
            warp = moved.plane[v]
            shift, angle = warp.shift_at(*middle), math.degrees(warp.angle_rad)
            view = replace(view, scale=warp.scale, angle_deg=angle, shift_px=shift)
        views.append(view)
    return tuple(views), after


def _write(
    run: RunFolder, alignment: Alignment, method: str, row: CaptureRow, view: int, picture: Tensor
) -> str:
    path = run.view_path(method, row.slug, view, alignment)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, picture)
    return sha256_of_file(path)


def _single(similarity: Similarity) -> Similarity:
    return Similarity(similarity.scale, similarity.rotation.float(), similarity.translation.float())


def _inputs(
    run: RunFolder, method: str, row: CaptureRow, alignment: Alignment, protocol: Protocol
) -> str:
    """Return the digest of all that an alignment depends on."""
    prediction = run.prediction(method, row.slug)
    folder = run.capture_folder("predictions", method, row.slug)
    views = [sha256_of_file(run.view_path(method, row.slug, v)) for v in range(len(row.views))]
    everything = [
        VERSION,
        alignment,
        protocol.digest,
        [v.truth_sha256 for v in row.views],
        None if prediction is None else [prediction.status, prediction.reason],
        views,
        sha256_of_file(folder / "gaussians.ply"),
    ]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()


def _is_whole(run: RunFolder, row: CaptureRow, record: AlignmentRecord) -> bool:
    """Tell whether the files that a record lists are what it says."""
    return all(
        sha256_of_file(run.view_path(record.method, row.slug, v.view, record.alignment)) == v.sha256
        for v in record.views
        if v.how != "absent"
    )
