"""Scores depend on the pictures and on nothing else; whatever can't be scored says why."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from a3d_bench.align.record import AlignedView, AlignmentRecord, write_alignment
from a3d_bench.errors import BenchError
from a3d_bench.evaluate import evaluate, network_digests
from a3d_bench.metrics import METRICS
from a3d_bench.scoring import Scorer, read_truth
from a3d_bench.store import RunFolder
from a3d_bench.types import Score
from a3d_bench.value_cache import ValueCache, value_key
from any3davatar.io import read_png, write_png
from tests.bench.scored_run import SIZE_PX, protocol, write_scored_run

METHODS = {"exact": 0.0, "near": 0.05, "far": 0.3}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_scored_run(tmp_path / "run", protocol("psnr", "ssim"), methods=METHODS)


def scored(run: RunFolder, **options: Any) -> list[Score]:
    return evaluate(run, **{"methods": list(METHODS), "alignments": ("none",), **options})


def table_bytes(run: RunFolder, scores: list[Score]) -> bytes:
    run.write_scores(scores)
    return (run.path / "scores.jsonl").read_bytes() + (run.path / "scores.parquet").read_bytes()


def test_every_view_has_a_row_of_every_metric_in_one_order(run: RunFolder) -> None:
    scores = scored(run)
    assert len(scores) == 3 * 2 * 3 * 2
    keys = [(s.method, s.capture, s.view, s.alignment, s.metric) for s in scores]
    assert keys == sorted(set(keys))
    assert {s.status for s in scores} == {"ok"}
    assert {s.stratum for s in scores if s.view == 1} == {"side"}
    assert [s.is_input for s in scores[:6]] == [True, True, False, False, False, False]
    assert {s.seconds for s in scores} == {1.5}


def test_values_are_those_of_the_metrics_on_the_stored_pictures(run: RunFolder) -> None:
    scores = {(s.method, s.capture, s.view, s.metric): s.value for s in scored(run)}
    row = run.captures()[1]
    truth = read_truth(run.truth_path(row.slug, 1), run.protocol().picture.background)
    predicted, _ = read_png(run.view_path("near", row.slug, 1))
    for id_ in ("psnr", "ssim"):
        metric = METRICS[id_].load()
        expected = metric.compare(metric.describe(truth), metric.describe(predicted))
        assert scores["near", row.id, 1, id_] == expected


def test_a_perfect_prediction_has_the_best_value_there_is(run: RunFolder) -> None:
    # The truth's half transparent rows are rounded to 8 bits as the prediction's are.
    exact = [s for s in scored(run) if s.method == "exact"]
    assert {s.metric: s.value for s in exact} == {"psnr": 100.0, "ssim": pytest.approx(1)}


def test_the_table_is_the_same_for_any_number_of_workers(run: RunFolder) -> None:
    # And each tells a capture once, when all of its views are done.
    tables: list[bytes] = []
    for workers in (1, 2):
        told: list[str] = []
        scores = scored(run, workers=workers, use_cache=False, progress=told.append)
        tables.append(table_bytes(run, scores))
        assert sorted(told) == [row.id for row in run.captures()]
    assert tables[0] == tables[1]


def test_methods_scored_one_by_one_have_the_values_of_all_at_once(run: RunFolder) -> None:
    together = scored(run, use_cache=False)
    apart = [s for m in METHODS for s in scored(run, methods=[m], use_cache=False)]
    assert sorted(apart, key=lambda s: (s.method, s.capture, s.view, s.metric)) == together
    backwards = scored(run, methods=list(METHODS)[::-1], use_cache=False)
    assert backwards == together


def test_a_permutation_of_the_views_permutes_the_rows(tmp_path: Path, run: RunFolder) -> None:
    before = scored(run, use_cache=False)
    row = run.captures()[0]
    folders = [run.truth_path(row.slug, 0).parent, run.view_path("near", row.slug, 0).parent]
    for folder in folders:
        (folder / "000.png").rename(tmp_path / "aside.png")
        (folder / "002.png").rename(folder / "000.png")
        (tmp_path / "aside.png").rename(folder / "002.png")
    views = (row.views[2], row.views[1], row.views[0])
    run.write_captures([replace(row, views=views), *run.captures()[1:]])
    made = run.prediction("near", row.slug)
    assert made is not None
    files = {**made.files, "views/000.png": made.files["views/002.png"]}
    files["views/002.png"] = made.files["views/000.png"]
    run.write_prediction(row.slug, replace(made, files=files))
    after = scored(run, methods=["near"], use_cache=False)

    def values(scores: list[Score]) -> dict[tuple[str, str, str], float | None]:
        near = [s for s in scores if s.method == "near"]
        return {(s.capture, s.view_name, s.metric): s.value for s in near}

    assert values(after) == values(before)


def test_nothing_is_computed_twice(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scored(run)
    monkeypatch.setattr(Scorer, "score", lambda self, job: pytest.fail("computed again"))
    assert scored(run) == first


def test_values_are_found_again_in_another_place_under_another_name(
    tmp_path: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [s for s in scored(run) if s.method == "near"]
    run.path.rename(tmp_path / "moved")
    moved = RunFolder(tmp_path / "moved")
    (moved.path / "predictions" / "near").rename(moved.path / "predictions" / "renamed")
    monkeypatch.setattr(Scorer, "score", lambda self, job: pytest.fail("computed again"))
    again = scored(moved, methods=["renamed"])
    assert [s.value for s in again] == [s.value for s in first]


def test_another_picture_or_background_or_network_is_another_value() -> None:
    keys = {
        value_key("m", "t", (1, 1, 1), "p"),
        value_key("n", "t", (1, 1, 1), "p"),
        value_key("m", "u", (1, 1, 1), "p"),
        value_key("m", "t", (1, 1, 0), "p"),
        value_key("m", "t", (1, 1, 1), "q"),
    }
    assert len(keys) == 5


def test_a_run_that_was_killed_loses_the_views_in_hand_only(tmp_path: Path) -> None:
    run = write_scored_run(
        tmp_path / "run", protocol("psnr", "ssim", size_px=128), methods=METHODS, views=30
    )
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from a3d_bench import scoring
        from a3d_bench.evaluate import evaluate
        from a3d_bench.store import RunFolder
        import time

        score = scoring.Scorer.score

        def slowly(self, job):
            time.sleep(0.05)
            return score(self, job)

        scoring.Scorer.score = slowly
        run = RunFolder(Path(sys.argv[1]))
        evaluate(run, methods=["exact", "near", "far"], alignments=("none",))
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(run.path)], env=dict(os.environ))
    path = ValueCache.default_path()
    limit = time.monotonic() + 60
    while time.monotonic() < limit and kept(path) < 5 * 6:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = kept(path)
    assert 5 * 6 <= found < 60 * 6, "killed in the middle"
    assert found % 6 == 0, "a view's values come together"
    computed: list[Any] = []
    score = Scorer.score

    class Counting(Scorer):
        def score(self, job: Any) -> Any:
            computed.append(job)
            return score(self, job)

    import a3d_bench.evaluate as stage

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "Scorer", Counting)
        resumed = scored(run)
    assert len(computed) == 60 - found // 6
    assert table_bytes(run, resumed) == table_bytes(run, scored(run, use_cache=False))


def kept(path: Path) -> int:
    """How many values are kept."""
    import sqlite3

    if not path.is_file():
        return 0
    database = sqlite3.connect(path, timeout=60)
    try:
        return int(database.execute("SELECT COUNT(*) FROM scores").fetchone()[0])
    except sqlite3.OperationalError:  # the table is not there yet
        return 0
    finally:
        database.close()


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    import psutil

    script = textwrap.dedent(
        """
        import multiprocessing, sys, time
        from concurrent.futures import ProcessPoolExecutor
        from a3d_bench.scoring import begin_worker

        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(1, mp_context=context, initializer=begin_worker)
            pool.submit(time.time).result()
            print("ready", flush=True)
            time.sleep(600)
        """
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.kill()
    process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def test_bad_pictures_are_rows_with_a_status_and_a_reason(run: RunFolder) -> None:
    row = run.captures()[0]
    white = torch.ones(3, SIZE_PX, SIZE_PX)
    replaced = {
        ("near", 1): lambda path: write_png(path, torch.rand(3, 40, SIZE_PX)),
        ("near", 2): lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing"),
        ("far", 0): lambda path: write_png(path, white),
        ("far", 1): lambda path: write_png(path, torch.rand(3, SIZE_PX, SIZE_PX), white[:1] / 2),
    }
    for (method, view), write in replaced.items():
        path = run.view_path(method, row.slug, view)
        write(path)
        made = run.prediction(method, row.slug)
        assert made is not None
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        files = {**made.files, f"views/{path.name}": sha256}
        run.write_prediction(row.slug, replace(made, files=files))
    run.view_path("near", row.slug, 0).unlink()
    run.view_path("far", row.slug, 2).write_bytes(
        run.view_path("far", run.captures()[1].slug, 2).read_bytes()
    )
    scores = scored(run)
    bad = {(s.method, s.view): (s.status, s.reason) for s in scores if s.status != "ok"}
    assert bad == {
        ("near", 0): ("missing", "there is no picture 000.png"),
        ("near", 1): ("wrong_size", "001.png is 32 x 40 pixels, expected 32 x 32 pixels"),
        ("near", 2): ("unreadable", bad["near", 2][1]),
        ("far", 0): ("degenerate", "every pixel of 000.png is #ffffff"),
        ("far", 1): ("unreadable", bad["far", 1][1]),
        ("far", 2): (
            "unreadable",
            "002.png has other bytes than prediction.json; delete the prediction and run again",
        ),
    }
    assert bad["near", 2][1].startswith("002.png is no picture: ")
    assert bad["far", 1][1].startswith("001.png is transparent; expected RGB over")
    assert all(s.value is None for s in scores if s.status != "ok")
    assert Counter(s.status for s in scores)["ok"] == 36 - 6 * 2
    assert scored(run) == scores


def test_a_failed_subject_is_a_row_for_every_view_and_metric(run: RunFolder) -> None:
    row = run.captures()[1]
    made = run.prediction("near", row.slug)
    assert made is not None
    run.write_prediction(row.slug, replace(made, status="timeout", reason="took 60 s", files={}))
    failed = [s for s in scored(run) if (s.method, s.capture) == ("near", row.id)]
    assert [(s.status, s.reason, s.value) for s in failed] == [("timeout", "took 60 s", None)] * 6


def test_a_method_that_was_not_asked_is_missing(run: RunFolder) -> None:
    scores = scored(run, methods=["stranger"])
    assert {(s.status, s.reason) for s in scores} == {
        ("missing", "the method was not asked for this capture yet")
    }


def align_to_truth(run: RunFolder, *, absent: tuple[int, ...] = ()) -> None:
    """Write an alignment of ``near`` that makes its pictures those of ``exact``."""
    for row in run.captures():
        views = []
        for view in range(len(row.views)):
            if view in absent:
                views.append(AlignedView(view, "absent"))
                continue
            aligned = run.view_path("near", row.slug, view, "sim3")
            aligned.parent.mkdir(parents=True, exist_ok=True)
            aligned.write_bytes(run.view_path("exact", row.slug, view).read_bytes())
            sha256 = hashlib.sha256(aligned.read_bytes()).hexdigest()
            views.append(AlignedView(view, "warped", sha256=sha256))
        record = AlignmentRecord("sim3", "near", row.id, "ok", "", "", views=tuple(views))
        write_alignment(run, row.slug, record)


def test_aligned_pictures_are_scored_beside_the_raw_ones(run: RunFolder) -> None:
    align_to_truth(run)
    scores = scored(run, methods=["near"], alignments=("none", "sim3"))
    best = {s.value for s in scores if s.alignment == "sim3" and s.metric == "psnr"}
    assert best == {100.0}
    assert all(s.value != 100 for s in scores if s.alignment == "none")


def test_what_could_not_be_aligned_says_why(run: RunFolder) -> None:
    align_to_truth(run, absent=(1, 2))
    first, second = run.captures()
    run.view_path("near", first.slug, 1).unlink()
    write_png(run.view_path("near", first.slug, 2), torch.ones(3, SIZE_PX, SIZE_PX))
    run.view_path("near", first.slug, 0, "sim3").write_bytes(b"changed")
    failed = AlignmentRecord("sim3", "near", second.id, "failed", "two views only", "")
    write_alignment(run, second.slug, failed)
    scores = scored(run, methods=["near"], alignments=("sim3", "landmark2d"))
    told = {(s.alignment, s.capture, s.view): (s.status, s.reason) for s in scores}
    changed = "000.png has other bytes than alignment.json; delete the alignment and run again"
    assert [told["sim3", first.id, view] for view in range(3)] == [
        ("unreadable", changed),
        ("missing", "there is no picture 001.png"),
        ("degenerate", "every pixel of 002.png is #ffffff"),
    ]
    assert told["sim3", second.id, 0] == ("no_face", "sim3: two views only")
    assert told["landmark2d", first.id, 0] == ("missing", "landmark2d was not done yet; run again")


def test_some_views_alone_have_the_rows_they_have_among_all(run: RunFolder) -> None:
    row = run.captures()[1]
    some = scored(run, views=[(row.slug, 2)], use_cache=False)
    assert some == [s for s in scored(run) if (s.capture, s.view) == (row.id, 2)]


def test_a_missing_network_leaves_its_rows_out_and_says_what_mends_it(tmp_path: Path) -> None:
    run = write_scored_run(
        tmp_path / "run", protocol("psnr", "dreamsim[ensemble]"), methods={"near": 0.1}
    )
    assert {s.metric for s in scored(run, methods=["near"])} == {"psnr"}
    assert list(network_digests(["psnr", "dreamsim[ensemble]"])) == ["psnr"]


def test_faces_count_up_to_the_protocols_angle_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network is not needed where no view shows a face, or where none is found.
    spec = METRICS["csim[mobilefacenet]"]

    class Sees:
        def describe(self, rgb: torch.Tensor) -> torch.Tensor | None:
            return None if float(rgb.mean()) < self.limit else rgb

        limit = 0.0

        def compare(self, truth: torch.Tensor, prediction: torch.Tensor) -> float:
            return 0.5

    stand_in = replace(spec, weights=None, modules=(), make=Sees)
    monkeypatch.setitem(METRICS, spec.id, stand_in)
    run = write_scored_run(tmp_path / "run", protocol(spec.id), methods={"near": 0.1})
    scores = [s for s in scored(run, methods=["near"]) if s.capture == "made/head-0"]
    assert [(s.azimuth_deg, s.status) for s in scores] == [
        (0.0, "ok"), (90.0, "no_face"), (180.0, "no_face"),
    ]  # fmt: skip
    assert scores[1].reason == "more than 60 degrees from the front, where faces count"
    monkeypatch.setattr(Sees, "limit", 2.0)
    unseen = scored(run, methods=["near"], use_cache=False)[0]
    assert (unseen.status, unseen.value) == ("no_face", None)
    assert unseen.reason == "no face is found in the prediction or in the truth"


def test_pictures_too_small_for_a_metric_are_refused_before_any_work(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", protocol("psnr"), methods={"near": 0.1}, captures=1)
    run.write_protocol(protocol("psnr", "lpips[alex]", size_px=16))
    with pytest.raises(BenchError, match=r"lpips\[alex\] needs pictures of at least 31 pixels"):
        scored(run)


def test_a_damaged_true_picture_stops_with_what_to_do(run: RunFolder) -> None:
    path = run.truth_path(run.captures()[0].slug, 1)
    path.write_bytes(b"nothing")
    with pytest.raises(BenchError, match=r"001\.png can't be read.*made again"):
        scored(run)
    path.unlink()
    with pytest.raises(BenchError, match="made again"):
        scored(run)


def test_a_damaged_cache_is_named_and_can_be_deleted(run: RunFolder) -> None:
    first = scored(run)
    path = ValueCache.default_path()
    for part in path.parent.glob("values.sqlite*"):
        part.unlink()
    path.write_bytes(b"this is no database, but long enough to look like one" * 50)
    with pytest.raises(BenchError, match=r"values\.sqlite.*delete it: values are computed again"):
        scored(run)
    path.unlink()
    assert scored(run) == first


def test_no_workers_are_refused(run: RunFolder) -> None:
    with pytest.raises(BenchError, match="got 0 workers, expected at least 1"):
        scored(run, workers=0)
