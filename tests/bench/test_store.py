"""A run's folder holds what was put in, refuses what is damaged, and lets no name out of it."""

import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a3d_bench.errors import BenchError
from a3d_bench.names import slug
from a3d_bench.protocol import load_protocol
from a3d_bench.store import CaptureRow, RunFolder, ViewRow
from a3d_bench.types import Prediction, Score, Seconds, stratum_of


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_a_slug_is_one_safe_component_and_tells_ids_apart(a: str, b: str) -> None:
    name = slug(a)
    assert set(name) <= set(string.ascii_letters + string.digits + "._-+~")
    assert name
    assert not name.startswith(".")
    assert len(name) < 130
    assert (slug(a) == slug(b)) == (a == b)
    assert (slug(a).lower() == slug(b).lower()) == (a == b)  # on file systems that ignore case


@pytest.mark.parametrize("text", ["..", "../x", "a/b", "CON", "con.txt", "", "a\\b", "é", "x."])
def test_dangerous_names_become_harmless(text: str) -> None:
    name = slug(text)
    assert "/" not in name
    assert "\\" not in name
    assert name not in (".", "..")
    assert name.split(".")[0].lower() != "con"


def test_strata_split_at_45_and_135_degrees() -> None:
    assert [stratum_of(a) for a in (0, 45, -45, 46, 134.9, 135, 180, -180, 360, 315)] == [
        "front", "front", "front", "side", "side", "back", "back", "back", "front", "front",
    ]  # fmt: skip


def capture_row() -> CaptureRow:
    views = (ViewRow("000", 0.0, 0.0, "front", "aa"), ViewRow("001", 180.0, 0.0, "back", "bb"))
    return CaptureRow("set/a", "set+a", "a", "set", 0, {"accessory": "none"}, {}, views)


def score(view: int, value: float | None) -> Score:
    return Score(
        "m", "set/a", "a", view, f"00{view}", 0.0, 0.0, "front", view == 0, "none", "psnr", value,
        "ok" if value is not None else "missing", "", 1.5, 10, None, "cc", "aa",
    )  # fmt: skip


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_run({"methods": {"m": {}}, "note": "<b>"})
    protocol = load_protocol("smoke", ["picture.size_px=48"])
    run.write_protocol(protocol)
    run.write_captures([capture_row()])
    prediction = Prediction(
        protocol.digest, "m", "set/a", "a", "ok", "", {"views/000.png": "cc"}, Seconds(infer=1.0)
    )
    run.write_prediction("set+a", prediction)
    opened = RunFolder.open(tmp_path)
    assert opened.methods() == ["m"]
    assert opened.protocol() == protocol
    assert opened.protocol().digest == protocol.digest
    assert opened.captures() == [capture_row()]
    assert opened.prediction("m", "set+a") == prediction
    assert opened.prediction("m", "set+b") is None


def test_the_score_table_keeps_types_where_values_are_missing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_scores([score(0, 20.0), score(1, None)])
    frame = run.scores()
    assert frame["value"].tolist()[0] == 20.0
    assert frame["value"].isna().tolist() == [False, True]
    assert frame["peak_gpu_bytes"].isna().all()
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok", "missing"]
    first = (tmp_path / "scores.parquet").read_bytes()
    run.write_scores([score(0, 20.0), score(1, None)])
    assert (tmp_path / "scores.parquet").read_bytes() == first


@pytest.mark.border
def test_what_is_no_run_or_damaged_is_refused_with_words(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"is no run: it has no run\.json"):
        RunFolder.open(tmp_path)
    run = RunFolder(tmp_path)
    run.write_run({})
    (tmp_path / "run.json").write_text('{"schema": 99}')
    with pytest.raises(BenchError, match="has schema 99, expected 1"):
        RunFolder.open(tmp_path)
    (tmp_path / "captures.json").write_text("[{}]")
    with pytest.raises(BenchError, match=r"captures\.json: a field is missing"):
        run.captures()
    hostile = replace(capture_row(), slug="../../etc")
    run.write_captures([hostile])
    with pytest.raises(BenchError, match=r"got the folder name '\.\./\.\./etc'"):
        run.captures()
    with pytest.raises(BenchError, match="has no scores yet"):
        run.scores()
    folder = run.capture_folder("predictions", "m", "set+a")
    folder.mkdir(parents=True)
    (folder / "prediction.json").write_text('{"method": "m"}')
    with pytest.raises(BenchError, match="not a prediction of this version"):
        run.prediction("m", "set+a")


def test_the_view_nearest_to_an_azimuth_turns_the_short_way_and_prefers_level_ones() -> None:
    angles = ((0.0, 0.0), (90.0, 20.0), (95.0, 0.0), (-170.0, 0.0))
    views = tuple(ViewRow(f"{i}", *each, "side", "aa") for i, each in enumerate(angles))
    row = replace(capture_row(), views=views)
    assert [row.nearest_view(azimuth) for azimuth in (5.0, 90.0, 180.0, 350.0)] == [0, 2, 3, 0]
