"""Claims about what a study finds: hostile answers are refused, and numbers are the ratings'."""

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from a3d_bench.cli import app
from a3d_bench.errors import BenchError
from a3d_bench.paper_comparison import paper_comparison
from a3d_bench.report.formats import to_csv
from a3d_bench.statistics import clustered_interval, sign_flip_p
from a3d_bench.study.agreement import interval_alpha
from a3d_bench.study.answers import Answers, read_answers
from a3d_bench.study.key import Head, Key, Sheet
from a3d_bench.study.report import in_text, rated, study_tables
from a3d_bench.study.scores import StudyScores, read_scores, score_study, write_scores
from tests.bench.study_examples import (
    answer_file,
    write_answers,
    write_small_study,
    write_study_run,
)
from tests.bench.synthetic_run import HOSTILE

PARTICIPANTS = 12
_LEVELS = {"zz-ours": 6, "zz-hostile": 3, "zz-faulty": 1}


def _rate(sheet: Sheet, head: Head, method: str, question: str) -> int:
    return _LEVELS[method] + (question == "identity") + sheet.number % 2


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    folder = tmp_path_factory.mktemp("scored")
    run = write_study_run(folder / "run")
    key, _ = write_small_study([run], folder / "study", participants=PARTICIPANTS)
    return folder / "study", key


@pytest.fixture(scope="module")
def answers(study: tuple[Path, Key], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_answers(tmp_path_factory.mktemp("answers"), study[1], _rate)


@pytest.fixture(scope="module")
def scores(study: tuple[Path, Key], answers: list[Path]) -> StudyScores:
    return score_study(study[1], read_answers(study[1], answers))


def test_means_and_intervals_are_those_of_participants(scores: StudyScores) -> None:
    (data_set,) = scores.data_sets
    texture, identity, overall = data_set.columns
    ours = overall.estimates["zz-ours"]
    by_participant = np.array([6.5 + number % 2 for number in range(1, PARTICIPANTS + 1)])
    assert texture.estimates["zz-ours"].mean == 6.5
    assert identity.estimates["zz-ours"].mean == 7.5
    assert ours.mean == 7.0
    assert ours.interval == clustered_interval(by_participant)
    assert (ours.subjects, ours.views, ours.coverage) == (PARTICIPANTS, 24, 1.0)


def test_a_failed_head_is_no_zero_and_lowers_coverage(scores: StudyScores) -> None:
    faulty = scores.data_sets[0].overall.estimates["zz-faulty"]
    # It crashed on one of three heads, which a third of the participants saw.
    assert faulty.subjects == PARTICIPANTS * 2 // 3
    assert faulty.coverage == pytest.approx(2 / 3)
    assert faulty.mean is not None
    assert faulty.mean > 1


def test_the_best_is_tested_against_each_other_by_participant(scores: StudyScores) -> None:
    overall = scores.data_sets[0].overall
    assert {c.best for c in overall.comparisons} == {"zz-ours"}
    against = {c.other: c for c in overall.comparisons}["zz-hostile"]
    assert against.difference == 3
    assert against.p == sign_flip_p(np.full(PARTICIPANTS, 3.0)) == 2.0 ** (1 - PARTICIPANTS)
    assert scores.tests == 6
    assert overall.estimates["zz-ours"].standing == "best"
    assert overall.estimates["zz-hostile"].standing == "behind"


def test_methods_are_compared_on_what_was_rated_for_both(tmp_path: Path) -> None:
    run = write_study_run(tmp_path / "run")
    key, _ = write_small_study([run], tmp_path / "study", participants=6, subjects=3)

    def rate(sheet: Sheet, head: Head, method: str, question: str) -> int:
        # Head 1, where the faulty one left nothing, is a hard one for everybody else.
        hard = head.capture.startswith("head-01")
        return _LEVELS[method] - (3 if hard else 0) + (2 if question == "texture" else 0)

    overall = (
        score_study(key, read_answers(key, write_answers(tmp_path / "back", key, rate)))
        .data_sets[0]
        .overall
    )
    ours, faulty = (overall.estimates[name].mean for name in ("zz-ours", "zz-faulty"))
    assert ours is not None
    assert faulty is not None
    assert ours - faulty == pytest.approx(4)
    against = {c.other: c for c in overall.comparisons}["zz-faulty"]
    assert against.difference == pytest.approx(5)


def test_alike_methods_are_tied(study: tuple[Path, Key], tmp_path: Path) -> None:
    paths = write_answers(tmp_path, study[1], lambda s, _h, m, _q: (s.number * len(m)) % 10)
    column = score_study(study[1], read_answers(study[1], paths)).data_sets[0].overall
    assert {estimate.standing for estimate in column.estimates.values()} == {"tied"}


def test_part_of_a_sheet_counts_for_what_it_answers(
    study: tuple[Path, Key], tmp_path: Path
) -> None:
    def rate(sheet: Sheet, head: Head, method: str, question: str) -> int | None:
        open_one = sheet.number == 2 and question == "identity" and method == "zz-ours"
        return None if open_one else _rate(sheet, head, method, question)

    paths = write_answers(tmp_path, study[1], rate)[:-1]
    scores = score_study(study[1], read_answers(study[1], paths))
    texture, identity, _ = scores.data_sets[0].columns
    assert texture.estimates["zz-ours"].views == PARTICIPANTS - 1
    assert identity.estimates["zz-ours"].views == PARTICIPANTS - 2
    second, last = scores.sheets[1], scores.sheets[-1]
    assert second.returned
    assert second.answered == second.asked - 1
    assert (last.returned, last.answered) == (False, 0)
    returns = study_tables(scores)[-1]
    assert returns.title == "What came back: 11 of 12 sheets"
    assert [row.title for row in returns.rows] == [
        "10 answered in full",
        "sheet 002, in part",
        "1 not returned",
        "all 12",
    ]


def test_alpha_is_the_authors_in_his_own_example() -> None:
    # Krippendorff 2011, section E: four observers, twelve units; he gives 0.849 for interval data.
    observers = (
        (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
        (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
        (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
        (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
    )
    units = [[v for v in unit if v is not None] for unit in zip(*observers, strict=True)]
    found = interval_alpha(units)
    assert found.alpha == pytest.approx(0.849, abs=0.0005)  # three digits are printed
    assert (found.units, found.ratings) == (11, 40)


def test_alpha_is_its_definition_over_all_pairs() -> None:
    generator = np.random.default_rng(11)
    units = [generator.integers(0, 10, generator.integers(1, 6)).tolist() for _ in range(30)]
    kept = [unit for unit in units if len(unit) > 1]
    everything = [value for unit in kept for value in unit]

    def gaps(values: list[int]) -> float:
        return sum((a - b) ** 2 for a, b in itertools.permutations(values, 2))

    observed = sum(gaps(unit) / (len(unit) - 1) for unit in kept) / len(everything)
    expected = gaps(everything) / (len(everything) * (len(everything) - 1))
    assert interval_alpha(units).alpha == pytest.approx(1 - observed / expected, rel=1e-12)


def test_alpha_is_one_where_all_agree_and_nothing_where_nothing_differs() -> None:
    assert interval_alpha([[1, 1], [5, 5, 5], [9, 9]]).alpha == 1
    assert interval_alpha([[4, 4], [4, 4]]).alpha is None
    assert interval_alpha([[4], [7]]).alpha is None


def _changed(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda given: given["ratings"][1].__setitem__(field, value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_changed("rating", 10), r"ratings\.1\.rating: got 10, expected 0 to 9"),
        (_changed("rating", -1), r"ratings\.1\.rating: got -1"),
        (_changed("rating", 4.5), r"ratings\.1\.rating: Input should be a valid integer"),
        (_changed("rating", "7"), r"ratings\.1\.rating: Input should be a valid integer"),
        (_changed("rating", True), r"ratings\.1\.rating: Input should be a valid integer"),
        (_changed("entry", "Q"), r"ratings\.1\.entry: got 'Q', expected one of A, B, C"),
        (_changed("head", 0), r"ratings\.1\.head: got 0, expected 1 to 1"),
        (_changed("question", "speed"), r"ratings\.1\.question: got 'speed', expected texture"),
        (_changed("method", "x"), r"ratings\.1\.method: Extra inputs are not permitted"),
        (lambda g: g["ratings"].append(g["ratings"][0]), r"head 1, \w, texture is rated twice"),
        (lambda g: g.update(study="0" * 16), "study: got '0000000000000000', expected"),
        (lambda g: g.update(sheet=99), "sheet: got 99, expected one of the study's 12"),
        (lambda g: g.update(sheet=2), "sheet: 2 was answered in .*answers-002.json already"),
        (lambda g: g.update(version=2), "version: Input should be 1"),
        (lambda g: g.pop("ratings"), "ratings: Field required"),
    ],
)
def test_wrong_answers_are_refused_by_file_and_field(
    study: tuple[Path, Key],
    answers: list[Path],
    tmp_path: Path,
    spoil: Callable[[dict[str, Any]], object],
    said: str,
) -> None:
    given = json.loads(answers[0].read_text())
    spoil(given)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(given))
    with pytest.raises(BenchError, match=rf"bad\.json: .*{said}"):
        read_answers(study[1], [*answers[1:], bad])


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)])
def test_damaged_files_are_refused(study: tuple[Path, Key], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(BenchError, match=r"bad\.json: "):
        read_answers(study[1], [tmp_path / "bad.json"])


def test_everything_that_is_wrong_is_told_at_once(study: tuple[Path, Key], tmp_path: Path) -> None:
    paths = write_answers(tmp_path, study[1], lambda *_: 11)
    with pytest.raises(BenchError, match=r"answers-001\.json(.|\n)*and \d+ more") as told:
        read_answers(study[1], [*paths, tmp_path / "absent.json"])
    assert len(str(told.value).splitlines()) == 22


def test_an_entry_without_a_picture_takes_no_rating(
    study: tuple[Path, Key], tmp_path: Path
) -> None:
    key = study[1]
    sheet, entry = next(
        (s, e) for s in key.sheets for h in s.heads for e in h.entries if not e.pictures
    )
    given = answer_file(key, sheet, _rate)
    given["ratings"][0]["entry"] = entry.letter
    (tmp_path / "a.json").write_text(json.dumps(given))
    with pytest.raises(BenchError, match="has no picture and was not asked about"):
        read_answers(key, [tmp_path / "a.json"])


def test_no_rating_at_all_is_no_score(study: tuple[Path, Key]) -> None:
    with pytest.raises(BenchError, match="hold no rating"):
        score_study(study[1], Answers((), (1,)))


@pytest.mark.parametrize("name", ["md", "tex", "html", "csv"])
def test_tables_come_in_every_format_and_escape_titles(scores: StudyScores, name: str) -> None:
    text = in_text(study_tables(scores), name)
    assert "Krippendorff" in text or name == "csv"
    if name != "csv":
        assert HOSTILE not in text
    if name == "html":
        assert "<script" not in text
        assert text.count("<!doctype html>") == 1


def test_csv_holds_means_and_intervals_in_full(scores: StudyScores) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(study_tables(scores)[0]))))
    ours = next(row for row in rows if row["Method"] == "Zz Ours")
    estimate = scores.data_sets[0].overall.estimates["zz-ours"]
    assert estimate.interval is not None
    assert float(ours["Overall ↑"]) == estimate.mean
    assert float(ours["Overall ↑ low"]) == estimate.interval.low


def test_scores_come_back_from_json(scores: StudyScores, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(write_scores(scores))
    assert read_scores(path) == scores
    for old, new, said in (
        ('"mean": 7.0', '"mean": 70.0', "mean 70.0, expected 0 to 9"),
        ('"mean": 7.0', '"mean": NaN', "mean nan, expected 0 to 9"),
        ('"overall"', '"total"', "no column 'overall'"),
        ('"data_sets"', '"sets"', "data_sets: Field required"),
    ):
        path.write_text(write_scores(scores).replace(old, new))
        with pytest.raises(BenchError, match=said):
            read_scores(path)


def test_the_papers_table_takes_the_overall_mean(scores: StudyScores) -> None:
    study = rated(scores)[0]
    table = paper_comparison(1, [], [study])
    assert study.data_kind == "anyhead"
    place = [heading.full for heading in table.headings].index("User Study ↑ ours")
    rows = {row.title: row.cells[place - 1 : place + 2] for row in table.rows}
    paper, ours, gap = rows["Any3DAvatar"]
    assert (paper.value, ours.value) == (7.8749, 7.0)
    assert ours.text.startswith("7.0000 ± ")
    assert gap.text == "-0.8749"
    assert rows["FaceLift"][1].text == "not rated"
    notes = " ".join(table.notes)
    assert "Mean over both questions" in notes
    assert "Not the paper's conditions: the protocol is smoke+" in notes
    with pytest.raises(BenchError, match="Any3DAvatar is in 2 places"):
        paper_comparison(1, [], [study, study])
    other = paper_comparison(2, [], [study])
    assert any(note.startswith("Not used, since it is not on NeRSemble") for note in other.notes)
    assert {row.cells[place].text for row in other.rows} == {"no study"}


def test_the_commands_go_from_a_run_to_the_papers_table(tmp_path: Path) -> None:
    run = write_study_run(tmp_path / "run")
    study, runner = tmp_path / "study", CliRunner()
    made = runner.invoke(
        app, ["study", "make", str(run.path), "--out", str(study), "--participants", "3"]
    )
    assert made.exit_code == 0, made.output
    assert "3 sheets" in made.output
    assert "no picture of" in made.output
    from a3d_bench.study.key import read_key

    given = [str(p) for p in write_answers(tmp_path / "back", read_key(study), _rate)]
    shown = runner.invoke(app, ["study", "score", str(study), *given])
    assert shown.exit_code == 0, shown.output
    assert "What came back: 3 of 3 sheets" in shown.output
    kept = tmp_path / "scores.json"
    score = ["study", "score", str(study), *given, "--format", "json", "--out", str(kept)]
    assert runner.invoke(app, score).exit_code == 0
    table = runner.invoke(app, ["tables", "1", "--study", str(kept), "--format", "csv"])
    assert table.exit_code == 0, table.output
    assert "not rated" in table.output
    (tmp_path / "back" / "answers-001.json").write_text("{}")
    refused = runner.invoke(app, ["study", "score", str(study), *given])
    assert refused.exit_code == 2
    assert "answers-001.json: version: Field required" in refused.output
