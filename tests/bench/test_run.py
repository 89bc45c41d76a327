"""A whole run at the size of a stamp: what it leaves, how it goes on, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from a3d_bench.cli import app
from a3d_bench.store import RunFolder

SMOKE = ("--protocol", "smoke", "--workers", 1)


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "smoke"
    done = bench("run", *SMOKE, "--method", "mean-head", "--method", "billboard", "--out", out)
    assert done.exit_code == 0, done.output
    return out


def test_a_run_leaves_scores_provenance_and_a_report(finished: Path) -> None:
    run = RunFolder.open(finished)
    scores = run.scores()
    assert set(scores["method"]) == {"mean-head", "billboard"}
    assert len(scores) == 2 * 2 * 8 * 2  # methods, subjects, views, metrics
    assert set(scores["status"]) == {"ok"}
    means = scores[scores["metric"] == "psnr"].groupby(["method", "is_input"])["value"].mean()
    assert means["billboard", True] > 35  # the portrait on its own plane, seen by its own camera
    assert means["billboard", False] < means["mean-head", False]  # and from elsewhere it is flat
    record = run.read_run()
    assert record["finished"]
    assert record["software"]["packages"]["torch"]
    assert "anyhead-mini" in record["data"]["recognised"]
    assert "no --data was given" in record["data"]["recognised"]
    report = (finished / "report" / "report.html").read_text()
    assert "Mean head" in report
    assert "http://" not in report.replace("http://www.w3.org", "")  # opens without a network


def test_the_same_command_goes_on_and_changes_nothing(finished: Path) -> None:
    before = (finished / "scores.parquet").read_bytes()
    made = {path: path.stat().st_mtime_ns for path in finished.rglob("views/*.png")}
    done = bench("run", *SMOKE, "--method", "mean-head", "--method", "billboard",
                 "--out", finished, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["failed"] == 0
    assert (finished / "scores.parquet").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("views/*.png")} == made


def test_a_run_can_begin_with_some_of_the_metrics_and_keeps_its_digest(tmp_path: Path) -> None:
    words = ("run", *SMOKE, "--method", "mean-head", "--out", tmp_path / "run")
    some = bench(*words, "--metric", "psnr")
    assert some.exit_code == 0, some.output
    run = RunFolder.open(tmp_path / "run")
    assert set(run.scores()["metric"]) == {"psnr"}
    digest = run.read_run()["protocol"]["digest"]
    assert "left out by --metric" in (tmp_path / "run" / "report" / "report.html").read_text()
    assert "SSIM" not in (tmp_path / "run" / "report" / "tables" / "main.md").read_text()
    assert bench("verify", tmp_path / "run", "--share", 1).exit_code == 0
    assert bench(*words).exit_code == 0
    assert "SSIM" in (tmp_path / "run" / "report" / "tables" / "main.md").read_text()
    assert set(run.scores()["metric"]) == {"psnr", "ssim"}
    assert run.read_run()["protocol"]["digest"] == digest
    wrong = bench(*words, "--metric", "lpips[vgg]")
    assert wrong.exit_code == 2
    assert "does not score lpips[vgg]; expected some of psnr, ssim" in wrong.output


def test_another_protocol_in_the_same_folder_is_refused(finished: Path) -> None:
    done = bench("run", *SMOKE, "--set", "picture.size_px=48", "--method", "mean-head",
                 "--out", finished)  # fmt: skip
    assert done.exit_code == 3, done.output
    assert "the protocol had the digest" in done.output
    assert "--out" in done.output


def test_verify_passes_and_finds_a_changed_picture_and_a_changed_value(finished: Path) -> None:
    done = bench("verify", finished, "--share", 1)
    assert done.exit_code == 0, done.output
    assert "64 of 64 values were computed again" in done.stdout
    run = RunFolder.open(finished)
    one, two = run.captures()
    path = run.view_path("billboard", one.slug, 3)
    content = path.read_bytes()
    path.write_bytes(run.view_path("billboard", two.slug, 3).read_bytes())
    changed = bench("verify", finished, "--share", 0)
    path.write_bytes(content)
    assert changed.exit_code == 4
    assert "003.png was changed" in changed.output
    table = run.scores()
    table.loc[5, "value"] += 0.5
    original = (finished / "scores.parquet").read_bytes()
    table.to_parquet(finished / "scores.parquet", index=False)
    changed = bench("verify", finished, "--share", 1)
    (finished / "scores.parquet").write_bytes(original)
    assert changed.exit_code == 4
    assert "found" in changed.output


def test_wrong_requests_end_with_2_and_a_line(tmp_path: Path) -> None:
    for words, told in (
        (("--protocol", "nope"), "nope"),
        ((*SMOKE, "--method", "nope"), "there is no method 'nope'"),
        ((*SMOKE, "--method", "mean-head", "--data", tmp_path / "absent"), "no such folder"),
    ):
        done = bench("run", *words, "--out", tmp_path / "run")
        assert done.exit_code == 2, done.output
        assert told in done.output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    done = bench("run", *SMOKE, "--method", "mean-head", "--out", tmp_path / "mine")
    assert done.exit_code == 2
    assert "is not empty and holds no run" in done.output
