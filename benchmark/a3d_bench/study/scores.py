"""What a study found: means by method, who is better, how far participants agree.

Ratings of one participant are not independent: they are averaged first, each rating with the same
weight, and intervals and tests go over participants (`a3d_bench.statistics`). A method that left no
picture was not asked about there: it has fewer ratings, which its coverage says, and no zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from a3d_bench.aggregate import Comparison, Entrant, Estimate, Standing
from a3d_bench.errors import BenchError
from a3d_bench.statistics import (
    clustered_interval,
    holm,
    minimum_detectable,
    sign_flip_p,
    smallest_p,
    standard_error,
    subject_means,
)
from a3d_bench.study.agreement import Agreement, interval_alpha
from a3d_bench.study.answers import Answers, Rating
from a3d_bench.study.key import DataSet, Key

OVERALL = "overall"
_FILE_LIMIT_BYTES = 1 << 24


@dataclass(frozen=True)
class RatedColumn:
    """One question, or all of them together.

    Attributes:
        question: id of the question, or `OVERALL`.
        title: for tables.
        estimates: by method's id, of its mean rating; ``subjects`` are participants here, ``views``
            and ``scored`` ratings, ``expected`` the ratings that the returned sheets have room for.
        comparisons: of the best with every other competitor.
        agreement: of participants.
    """

    question: str
    title: str
    estimates: Mapping[str, Estimate]
    comparisons: tuple[Comparison, ...]
    agreement: Agreement


@dataclass(frozen=True)
class RatedDataSet:
    """One data set of a study.

    Attributes:
        label: protocol and data.
        kind: of the protocol: ``anyhead``, ``nersemble`` or ``any``.
        remarks: why its numbers are not the paper's.
        entrants: that were shown.
        columns: one a question, and all together.
    """

    label: str
    kind: str
    remarks: tuple[str, ...]
    entrants: tuple[Entrant, ...]
    columns: tuple[RatedColumn, ...]

    @property
    def titles(self) -> dict[str, str]:
        """Titles of entrants by id."""
        return {entrant.id: entrant.title for entrant in self.entrants}

    @property
    def overall(self) -> RatedColumn:
        """All questions together."""
        return next(column for column in self.columns if column.question == OVERALL)


@dataclass(frozen=True)
class SheetReturn:
    """How much of a sheet was answered.

    Attributes:
        sheet: its number.
        answered: ratings.
        asked: ratings that it asks for.
        returned: whether there is a file of answers.
    """

    sheet: int
    answered: int
    asked: int
    returned: bool


@dataclass(frozen=True)
class StudyScores:
    """Everything that a study found.

    Attributes:
        study: id of the study.
        lowest: lowest rating.
        highest: highest rating.
        data_sets: in the key's order.
        sheets: one a participant.
        tests: that Holm's correction counts.
        smallest_p: the least p that one of them can give.
    """

    study: str
    lowest: int
    highest: int
    data_sets: tuple[RatedDataSet, ...]
    sheets: tuple[SheetReturn, ...]
    tests: int
    smallest_p: float


def score_study(key: Key, answers: Answers) -> StudyScores:
    """Return what a study found.

    Args:
        key: of the study.
        answers: of all participants.

    Raises:
        BenchError: there is no rating.
    """
    ratings, returned = answers.ratings, answers.sheets
    if not ratings:
        raise BenchError("the answers hold no rating, expected at least one; nothing to score")
    sets = [
        RatedDataSet(
            data_set.label,
            data_set.kind,
            data_set.remarks,
            _entrants(data_set),
            tuple(
                _column(key, index, question, title, ratings, returned)
                for question, title in (
                    *((question.id, question.title) for question in key.questions),
                    (OVERALL, "Overall"),
                )
            ),
        )
        for index, data_set in enumerate(key.data_sets)
    ]
    sets = _with_standings(sets)
    tests = [c for each in sets for column in each.columns for c in column.comparisons]
    return StudyScores(
        key.study,
        key.lowest,
        key.highest,
        tuple(sets),
        tuple(_sheet_return(key, number, ratings, returned) for number in _numbers(key)),
        len(tests),
        min((smallest_p(test.subjects) for test in tests), default=1.0),
    )


def write_scores(scores: StudyScores) -> str:
    """Return scores as JSON, for `read_scores`."""
    return _ADAPTER.dump_json(scores, indent=1).decode() + "\n"


def read_scores(path: Path) -> StudyScores:
    """Return the scores that ``a3d-bench study score --format json`` wrote.

    Raises:
        BenchError: the file is none.
    """
    if not path.is_file() or path.stat().st_size > _FILE_LIMIT_BYTES:
        raise BenchError(f"{path} is no file of `a3d-bench study score --format json`")
    try:
        scores = _ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise BenchError(
            f"{path}: {place}: {first['msg']}; expected what `a3d-bench study score --format json` "
            "writes"
        ) from error
    for each in scores.data_sets:
        if not any(column.question == OVERALL for column in each.columns):
            raise BenchError(f"{path}: {each.label} has no column {OVERALL!r}; score again")
        for method, estimate in each.overall.estimates.items():
            if estimate.mean is not None and not scores.lowest <= estimate.mean <= scores.highest:
                raise BenchError(
                    f"{path}: {method} has the mean {estimate.mean}, expected {scores.lowest} to "
                    f"{scores.highest}; score again"
                )
    return scores


_ADAPTER = TypeAdapter(StudyScores)


def _entrants(data_set: DataSet) -> tuple[Entrant, ...]:
    return tuple(
        Entrant(method.id, method.title, method.sees_truth, method.paper_name)
        for method in data_set.methods
    )


def _column(
    key: Key,
    data_set: int,
    question: str,
    title: str,
    ratings: Sequence[Rating],
    returned: Sequence[int],
) -> RatedColumn:
    counted = [
        rating
        for rating in ratings
        if rating.data_set == data_set and question in (OVERALL, rating.question)
    ]
    questions = len(key.questions) if question == OVERALL else 1
    entrants = _entrants(key.data_sets[data_set])
    means: dict[str, dict[str, float]] = {}
    estimates: dict[str, Estimate] = {}
    for entrant in entrants:
        own = [rating for rating in counted if rating.method == entrant.id]
        means[entrant.id] = subject_means(
            [rating.value for rating in own], [_participant(rating.sheet) for rating in own]
        )
        estimates[entrant.id] = _estimate(
            means[entrant.id], len(own), questions * _places(key, data_set, entrant.id, returned)
        )
    units: dict[tuple[str, str, str], list[float]] = {}
    for rating in counted:
        unit = (rating.capture, rating.method, rating.question)
        units.setdefault(unit, []).append(rating.value)
    return RatedColumn(
        question,
        title,
        estimates,
        _comparisons(entrants, means, counted),
        interval_alpha(units.values()),
    )


def _places(key: Key, data_set: int, method: str, returned: Sequence[int]) -> int:
    """Return how often a method stands on the returned sheets, with pictures or without."""
    return sum(
        entry.method == method
        for sheet in key.sheets
        if sheet.number in returned
        for head in sheet.heads
        if head.data_set == data_set
        for entry in head.entries
    )


def _estimate(means: Mapping[str, float], ratings: int, expected: int) -> Estimate:
    if not means:
        return Estimate(None, None, None, 0, 0, 0, expected)
    values = np.array(list(means.values()))
    return Estimate(
        float(np.mean(values)),
        clustered_interval(values),
        standard_error(values),
        len(values),
        ratings,
        ratings,
        expected,
    )


def _comparisons(
    entrants: Sequence[Entrant],
    means: Mapping[str, Mapping[str, float]],
    counted: Sequence[Rating],
) -> tuple[Comparison, ...]:
    competing = [e.id for e in entrants if not e.sees_truth and means[e.id]]
    if len(competing) < 2:
        return ()
    best = max(competing, key=lambda method: float(np.mean(list(means[method].values()))))
    made = []
    for other in competing:
        gaps = np.array(list(_gaps(best, other, counted).values()))
        if other == best or not len(gaps):
            continue
        p = sign_flip_p(gaps)
        made.append(
            Comparison(
                best,
                other,
                float(np.mean(gaps)),
                clustered_interval(gaps),
                p,
                p,
                minimum_detectable(gaps),
                len(gaps),
            )
        )
    return tuple(made)


def _gaps(best: str, other: str, counted: Sequence[Rating]) -> dict[str, float]:
    """Return each participant's mean difference, over heads and questions rated for both."""
    theirs = {(r.sheet, r.capture, r.question): r.value for r in counted if r.method == other}
    pairs = [
        (rating.value - theirs[place], _participant(rating.sheet))
        for rating in counted
        if rating.method == best
        and (place := (rating.sheet, rating.capture, rating.question)) in theirs
    ]
    return subject_means([gap for gap, _ in pairs], [participant for _, participant in pairs])


def _participant(sheet: int) -> str:
    """Return a name whose order as text is the order of numbers."""
    return f"{sheet:06d}"


def _with_standings(sets: Sequence[RatedDataSet]) -> list[RatedDataSet]:
    """Correct all tests of a study together, and say in each column who stands where."""
    adjusted = iter(holm([c.p for each in sets for col in each.columns for c in col.comparisons]))
    return [
        replace(
            each,
            columns=tuple(
                _standing_column(
                    replace(
                        column,
                        comparisons=tuple(
                            replace(c, p_holm=next(adjusted)) for c in column.comparisons
                        ),
                    )
                )
                for column in each.columns
            ),
        )
        for each in sets
    ]


def _standing_column(column: RatedColumn) -> RatedColumn:
    standings: dict[str, Standing] = {}
    for comparison in column.comparisons:
        standings[comparison.other] = "behind" if comparison.survives else "tied"
    if standings:
        best = column.comparisons[0].best
        standings[best] = "tied" if "tied" in standings.values() else "best"
    return replace(
        column,
        estimates={
            method: replace(estimate, standing=standings.get(method, "untested"))
            for method, estimate in column.estimates.items()
        },
    )


def _numbers(key: Key) -> list[int]:
    return [sheet.number for sheet in key.sheets]


def _sheet_return(
    key: Key, number: int, ratings: Sequence[Rating], returned: Sequence[int]
) -> SheetReturn:
    sheet = key.sheet(number)
    assert sheet is not None
    entries = sum(entry.pictures > 0 for head in sheet.heads for entry in head.entries)
    return SheetReturn(
        number,
        sum(rating.sheet == number for rating in ratings),
        entries * len(key.questions),
        number in returned,
    )
