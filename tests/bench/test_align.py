"""Alignment brings a head back from where a method put it, and says what was wrong with it."""

import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import pytest
import torch
from torch import Tensor

from a3d_bench.align import AlignmentRecord, align, read_alignment
from a3d_bench.align.diagnosis import frame_words, quarter_turns
from a3d_bench.align.landmarks import Landmarks, triangulate
from a3d_bench.align.plane import PlaneSimilarity, fit_plane_similarity, warped
from a3d_bench.align.refusal import apart_px, overlap, refusal
from a3d_bench.align.subject import induced
from a3d_bench.store import CaptureRow, RunFolder
from any3davatar.core import Gaussians, Similarity
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.core.rigs import orbit
from any3davatar.faces import FaceMesh
from any3davatar.io import read_png, read_spz
from any3davatar.registry_files import RegistryFileUnavailable
from any3davatar.render import render
from tests.at_hand import missing
from tests.bench.seen_head import (
    WHITE,
    billboard,
    guess,
    rendered,
    rig,
    rules,
    truth_pictures,
    turned,
    write_method,
    write_seen_run,
)

MOVED = Similarity(0.8, turned(17, (1, 2, 0.5)), torch.tensor([0.1, -0.05, 0.08]))
LARGER = Similarity(1.35, turned(20, (0.3, -1, 0.2)), torch.tensor([-0.02, 0.04, 0.03]))


@pytest.fixture(scope="module", autouse=True)
def _networks() -> None:
    try:
        FaceMesh.load()
    except RegistryFileUnavailable as error:
        missing("the face networks", error)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, CaptureRow]:
    """A run with a method for every way to be wrong that a test asks for."""
    run, row = write_seen_run(tmp_path_factory.mktemp("seen") / "run")
    write_method(run, row, "exact", rendered(), guess())
    for name, similarity in (("moved", MOVED), ("larger", LARGER)):
        write_method(run, row, name, rendered(similarity), similarity.apply_to_gaussians(guess()))
    write_method(run, row, "moved-pictures", rendered(MOVED))
    return run, row


def read_views(run: RunFolder, row: CaptureRow, method: str, alignment: str = "none") -> Tensor:
    paths = [run.view_path(method, row.slug, v, alignment) for v in range(len(row.views))]  # type: ignore[arg-type]
    return torch.stack([read_png(path)[0] for path in paths])


def psnr(a: Tensor, b: Tensor) -> Tensor:
    return -10 * torch.log10((a - b).square().mean((1, 2, 3)))


def left_over(record: AlignmentRecord, put: Similarity) -> tuple[float, float, float]:
    """Return degrees, relative scale and shift that an alignment did not undo."""
    assert record.similarity is not None
    found = Similarity(
        record.similarity["scale"],
        torch.tensor(record.similarity["rotation"]),
        torch.tensor(record.similarity["translation"]),
    )
    rest = found.after(put)
    cosine = (float(torch.trace(rest.rotation)) - 1) / 2
    degrees = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    return degrees, abs(rest.scale - 1), float(rest.translation.norm())


@pytest.mark.weights
@pytest.mark.parametrize(("name", "put"), [("moved", MOVED), ("larger", LARGER)])
def test_sim3_undoes_a_known_similarity(
    seen: tuple[RunFolder, CaptureRow], name: str, put: Similarity
) -> None:
    run, row = seen
    record = align(run, name, row, "sim3", rules())
    assert (record.status, record.kept) == ("ok", "")
    degrees, scale, shift = left_over(record, put)
    # The accuracy that the harness promises.
    assert degrees < 1
    assert scale < 0.02
    assert shift < 0.01
    truth = truth_pictures()
    lost = psnr(read_views(run, row, "exact"), truth) - psnr(
        read_views(run, row, name, "sim3"), truth
    )
    # Views from behind included, where no face is seen.
    assert float(lost.mean()) < 0.5
    assert float(lost.max()) < 0.7
    raw = psnr(read_views(run, row, name), truth)
    assert float(raw.mean()) < float(psnr(read_views(run, row, "exact"), truth).mean()) - 3
    assert record.numbers is not None
    assert record.numbers["landmarks_apart_after_px"] < record.numbers["landmarks_apart_before_px"]


@pytest.mark.weights
def test_sim3_leaves_an_exact_prediction_nearly_alone(seen: tuple[RunFolder, CaptureRow]) -> None:
    run, row = seen
    record = align(run, "exact", row, "sim3", rules())
    assert record.diagnosis == ()
    degrees, scale, shift = left_over(record, Similarity.identity())
    assert (degrees < 1, scale < 0.02, shift < 0.01) == (True, True, True)


@pytest.mark.weights
def test_sim3_without_gaussians_warps_every_view(seen: tuple[RunFolder, CaptureRow]) -> None:
    run, row = seen
    record = align(run, "moved-pictures", row, "sim3", rules())
    assert {view.how for view in record.views} == {"warped"}
    degrees, scale, shift = left_over(record, MOVED)
    # Landmarks alone, of faces 50 pixels wide that the two sides see 17 degrees apart.
    assert (degrees < 5, scale < 0.05, shift < 0.06) == (True, True, True)
    truth = truth_pictures()
    gained = psnr(read_views(run, row, "moved-pictures", "sim3"), truth) - psnr(
        read_views(run, row, "moved-pictures"), truth
    )
    behind = torch.tensor([view.stratum == "back" for view in row.views])
    assert float(gained.mean()) > 1
    assert float(gained[behind].mean()) > 1


@pytest.mark.weights
def test_landmark2d_moves_faces_onto_the_truth_and_the_rest_by_the_median(
    seen: tuple[RunFolder, CaptureRow],
) -> None:
    run, row = seen
    record = align(run, "moved-pictures", row, "landmark2d", rules())
    assert record.status == "ok"
    assert {view.how for view in record.views} == {"warped", "median"}
    medians = {
        (view.scale, view.angle_deg, view.shift_px) for view in record.views if view.how == "median"
    }
    assert len(medians) == 1
    assert record.numbers is not None
    assert record.numbers["landmarks_apart_after_px"] < 2
    assert record.numbers["landmarks_apart_before_px"] > 4


@pytest.mark.weights
def test_an_alignment_is_made_once_and_again_when_something_changed(
    tmp_path: Path, seen: tuple[RunFolder, CaptureRow]
) -> None:
    run = RunFolder(tmp_path / "copy")
    shutil.copytree(seen[0].path, run.path)
    row = seen[1]
    first = align(run, "moved-pictures", row, "landmark2d", rules())
    file = run.view_path("moved-pictures", row.slug, 0, "landmark2d")
    before = file.stat().st_mtime_ns
    assert align(run, "moved-pictures", row, "landmark2d", rules()) == first
    assert file.stat().st_mtime_ns == before
    assert read_alignment(run, "moved-pictures", row.slug, "landmark2d") == first
    file.write_bytes(b"damaged")
    assert align(run, "moved-pictures", row, "landmark2d", rules()) == first
    assert read_png(file)[0].shape[0] == 3
    os.remove(run.view_path("moved-pictures", row.slug, 3))  # noqa: PTH107
    second = align(run, "moved-pictures", row, "landmark2d", rules())
    assert second.inputs != first.inputs
    assert second.views[3].how == "absent"
    assert not run.view_path("moved-pictures", row.slug, 3, "landmark2d").exists()


@pytest.mark.weights
def test_flipped_pictures_are_called_mirrored(
    tmp_path: Path, seen: tuple[RunFolder, CaptureRow]
) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "flipped", truth_pictures().flip(-1))
    record = align(run, "flipped", row, "sim3", rules())
    assert any("mirrored" in words for words in record.diagnosis)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("put", "expected"),
    [
        (WORLD_FRAMES["facelift"].inverse(), "frame of facelift"),
        pytest.param(
            Similarity(10.0, torch.eye(3), torch.zeros(3)),
            r" ([7-9]|1[0-3])[.\d]* times too large",
            marks=pytest.mark.slow,
        ),
        (
            Similarity(0.1, torch.eye(3), torch.zeros(3)),
            # The head's extent is that of a disk as large as its silhouette.
            r" ([7-9]|1[0-3])[.\d]* times too small",
        ),
        pytest.param(
            Similarity(1.0, turned(90, (0, 1, 0)), torch.zeros(3)),
            r"face looks along .*\+x",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["z up", "ten times", "a tenth", "quarter turn"],
)
def test_a_wrong_frame_is_named(tmp_path: Path, put: Similarity, expected: str) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "odd", rendered(put), put.apply_to_gaussians(guess()))
    record = align(run, "odd", row, "sim3", rules())
    assert any(re.search(expected, words) for words in record.diagnosis), record.diagnosis


@pytest.mark.weights
def test_where_no_face_is_found_the_pictures_stay_and_it_is_said(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "blank", torch.ones_like(truth_pictures()))
    record = align(run, "blank", row, "landmark2d", rules())
    assert record.status == "failed"
    assert "face" in record.reason
    assert any("empty" in words for words in record.diagnosis)
    record = align(run, "blank", row, "sim3", rules())
    assert record.status == "ok"
    assert record.kept.startswith("kept raw: 0 views of the prediction show a face")
    assert {view.how for view in record.views} == {"kept"}
    assert any("empty" in words for words in record.diagnosis)
    for view in range(len(row.views)):
        left, made = (run.view_path("blank", row.slug, view, kind) for kind in ("none", "sim3"))
        assert torch.equal(read_png(left)[0], read_png(made)[0])


def blurred(gaussians: Gaussians) -> Gaussians:
    return replace(gaussians, scales=3 * gaussians.scales, opacities=0.3 * gaussians.opacities)


def pictures_of(gaussians: Gaussians) -> Tensor:
    return render(gaussians, rig(), WHITE).rgb.clamp(0, 1)


@pytest.mark.weights
def test_the_mean_head_is_kept_and_it_is_said(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    # Its face lies about where faces do; its outline, the mean of all haircuts, asks for a smaller
    # head, and moves the face away.
    with as_file(files("a3d_baselines") / "assets" / "mean_head.spz") as path:
        head = read_spz(path)
    write_method(run, row, "mean", pictures_of(head), head)
    record = align(run, "mean", row, "sim3", rules())
    assert (record.status, record.kept[:10]) == ("ok", "kept raw: ")
    assert record.similarity is not None
    assert (record.similarity["scale"], record.similarity["turned_deg"]) == (1.0, 0.0)
    assert record.numbers is not None
    assert record.numbers["refused_scale"] < 0.97
    assert torch.equal(read_views(run, row, "mean"), read_views(run, row, "mean", "sim3"))
    assert read_alignment(run, "mean", row.slug, "sim3") == record


@pytest.mark.weights
def test_a_blurred_head_that_is_out_of_place_is_still_brought_back(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    moved = MOVED.apply_to_gaussians(blurred(guess()))
    write_method(run, row, "blurred", pictures_of(moved), moved)
    record = align(run, "blurred", row, "sim3", rules())
    assert record.kept == ""
    degrees, scale, shift = left_over(record, MOVED)
    # Of 17 degrees, 20 % and 0.14 units: the outline of a blurred head is larger than the head's.
    assert (degrees < 3, scale < 0.06, shift < 0.03) == (True, True, True)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("draw", "why"),
    [
        (billboard, "they are of no one head"),
        (lambda p: p[7].expand_as(p), "fit the truth's by no similarity"),
    ],
    ids=["a plane", "one picture"],
)
def test_what_is_no_head_is_kept(
    tmp_path: Path, draw: Callable[[Tensor], Tensor], why: str
) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "flat", draw(truth_pictures()).clamp(0, 1))
    record = align(run, "flat", row, "sim3", rules())
    assert record.status == "ok"
    assert why in record.kept
    assert torch.equal(read_views(run, row, "flat"), read_views(run, row, "flat", "sim3"))


def test_a_similarity_is_refused_by_where_things_lie() -> None:
    assert refusal((20.0, 3.0), 0.8, 0.1) == ""  # landmarks decide where there are any
    assert "would lie 1.9 px" in refusal((2.0, 1.9), 0.1, 0.8)
    assert "would lie 7.9 px from the truth's, as it is 4.5 px" in refusal((4.5, 7.9), 0.1, 0.8)
    assert refusal(None, 0.6, 0.8) == ""
    assert "overlap the truth's by 60.0%, as it is by 80.0%" in refusal(None, 0.8, 0.6)


def test_silhouettes_overlap_by_what_is_not_the_background() -> None:
    picture, alpha = torch.ones(3, 8, 8), torch.zeros(1, 8, 8)
    picture[:, :, :4], alpha[:, :, 2:6] = 0.2, 1.0
    # Columns 0-3 against 2-5: two of six are in both.
    assert overlap({0: picture}, {0: alpha}, WHITE) == pytest.approx(1 / 3)
    empty = {0: torch.ones(3, 8, 8)}
    assert overlap(empty, {0: alpha}, WHITE) == 0
    assert overlap(empty, {0: torch.zeros(1, 8, 8)}, WHITE) == 1


def test_landmarks_are_compared_where_truth_and_both_predictions_show_a_face() -> None:
    truth = Landmarks(torch.zeros(4, 468, 2), torch.tensor([True, True, True, False]))
    raw = Landmarks(truth.points + 3, torch.tensor([True, True, False, True]))
    moved = Landmarks(truth.points + 1, torch.tensor([True, False, True, True]))
    moved.points[0] *= 2
    assert apart_px(raw, moved, truth) == pytest.approx((3 * 2**0.5, 2 * 2**0.5))
    assert apart_px(raw, moved, replace(truth, seen=torch.zeros(4, dtype=torch.bool))) is None


@pytest.mark.weights
def test_gaussians_that_are_not_the_pictures_are_not_used(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "other", rendered(MOVED), guess())
    record = align(run, "other", row, "sim3", rules())
    assert any("other pictures" in note for note in record.notes)
    assert {view.how for view in record.views} == {"warped"}


def test_none_writes_nothing(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "exact", truth_pictures())
    assert align(run, "exact", row, "none", rules()).status == "ok"
    assert not (run.path / "aligned").exists()


def test_a_plane_similarity_is_found_among_outliers() -> None:
    g = torch.Generator().manual_seed(0)
    source = 100 * torch.rand(60, 2, generator=g)
    wanted = PlaneSimilarity(1.3, 0.4, 5.0, -7.0)
    target = wanted.apply(source)
    target[:15] += 30 * torch.rand(15, 2, generator=g)
    found, residual = fit_plane_similarity(source, target)
    assert residual < 1e-4  # float32 points of 100 pixels
    assert found.scale == pytest.approx(1.3, abs=1e-5)
    assert found.angle_rad == pytest.approx(0.4, abs=1e-5)


def test_a_warp_moves_what_is_drawn_where_it_says() -> None:
    v, u = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")

    def blob(x: float, y: float, width: float) -> Tensor:
        drop = torch.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * width**2))
        return (1 - 0.8 * drop).expand(3, -1, -1)

    for scale in (0.5, 1.0, 1.5):
        similarity = PlaneSimilarity.about(scale, 0.3, (40.0, 50.0), (52.0, 44.0))
        moved = warped(blob(40.0, 50.0, 6.0), similarity, WHITE)
        # Bicubic interpolation of a Gaussian 3 pixels wide or more.
        assert torch.allclose(moved, blob(52.0, 44.0, 6.0 * scale), atol=0.02)


def test_landmarks_are_triangulated_though_some_views_guess() -> None:
    g = torch.Generator().manual_seed(1)
    points = 0.3 * torch.randn(468, 3, generator=g)
    cameras = orbit([-40, -20, 0, 20, 40], [0, 10, -10, 10, 0], size_px=256)
    pixels, _ = cameras.project(points.expand(5, -1, -1))
    pixels[0, :200] += 15 * torch.randn(200, 2, generator=g)  # the side that a profile hides
    found = triangulate(Landmarks(pixels, torch.ones(5, dtype=torch.bool)), cameras)
    assert float((found.points - points).norm(dim=1).median()) < 1e-4
    assert float((found.points - points).norm(dim=1).quantile(0.95)) < 0.01


def test_the_induced_warp_follows_the_head_s_centre_and_size() -> None:
    camera = orbit([30.0], [10.0], size_px=200)[0]
    put = Similarity(0.9, turned(8, (0, 0, 1)), torch.tensor([0.05, -0.1, 0.02]))
    similarity = put.inverse()
    warp = induced(similarity, camera)
    center = put.apply(torch.zeros(1, 3))
    pixels, _ = camera.project(center)
    assert warp.apply(pixels)[0].tolist() == pytest.approx([100.0, 100.0], abs=1e-3)
    right = camera.world_to_camera[0, :3] * 0.01
    nearby, _ = camera.project(put.apply(right[None]))
    there, _ = camera.project(right[None])
    # A point beside the centre in the picture's plane; turning moves it out of it a little.
    assert (warp.apply(nearby) - there).norm() < 0.02


def test_every_quarter_turn_is_a_rotation_and_named() -> None:
    turns = quarter_turns()
    assert len(turns) == 24
    assert torch.equal(turns[0], torch.eye(3))
    named = {tuple(frame_words(Similarity(1.0, turn, torch.zeros(3)))) for turn in turns}
    assert len(named) == 24
    assert () in named
