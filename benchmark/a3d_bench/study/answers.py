"""What participants send back: checked before anything is counted.

A file of answers::

    {"version": 1, "study": "6f0c...", "sheet": 7,
     "ratings": [{"head": 1, "entry": "A", "question": "texture", "rating": 6}, ...]}

Questions that were not answered are not in it. Whatever else is wrong is told by file and field,
all of it at once, and nothing is counted until it is mended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from a3d_bench.errors import BenchError
from a3d_bench.study.key import Key

_FILE_LIMIT_BYTES = 1 << 20
_TOLD = 20


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _GivenRating(_Strict):
    head: int
    entry: str
    question: str
    rating: int


class _AnswerFile(_Strict):
    version: Literal[1]
    study: str
    sheet: int
    ratings: list[_GivenRating]


@dataclass(frozen=True)
class Rating:
    """One rating, with what the key knows of it.

    Attributes:
        sheet: number of the participant.
        data_set: index of the data set.
        capture: which head.
        method: which method.
        question: id of the question.
        value: the rating.
    """

    sheet: int
    data_set: int
    capture: str
    method: str
    question: str
    value: int


@dataclass(frozen=True)
class Answers:
    """What came back.

    Attributes:
        ratings: of all participants.
        sheets: numbers of those that there is a file of.
    """

    ratings: tuple[Rating, ...]
    sheets: tuple[int, ...]


def read_answers(key: Key, paths: Sequence[Path]) -> Answers:
    """Return what is in answer files; a sheet may be answered in part, or not at all.

    Args:
        key: of the study that was answered.
        paths: one file a sheet.

    Raises:
        BenchError: a file is damaged or belongs to another study, a field is none that the sheet
            has, or a sheet was answered twice; all that is wrong, by file and field.
    """
    problems: list[str] = []
    ratings: list[Rating] = []
    first: dict[int, Path] = {}
    for path in paths:
        try:
            given = _read(path)
        except BenchError as error:
            problems.append(str(error))
            continue
        wrong = _file_problems(key, given, first)
        first.setdefault(given.sheet, path)
        if not wrong:
            found, wrong = _checked(key, given)
            ratings.extend(found)
        problems.extend(f"{path}: {problem}" for problem in wrong)
    if problems:
        more = len(problems) - _TOLD
        raise BenchError(
            "answers can't be counted; mend or leave out:\n"
            + "\n".join(problems[:_TOLD])
            + (f"\nand {more} more" if more > 0 else "")
        )
    return Answers(tuple(ratings), tuple(first))


def _read(path: Path) -> _AnswerFile:
    try:
        size = path.stat().st_size
        if size > _FILE_LIMIT_BYTES:
            raise BenchError(f"{path}: {size} bytes, expected at most {_FILE_LIMIT_BYTES}")
        return _AnswerFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)[:3]
        )
        raise BenchError(f"{path}: {told}") from error
    except OSError as error:
        raise BenchError(f"{path}: can't be read: {error.strerror}") from error


def _file_problems(key: Key, given: _AnswerFile, first: dict[int, Path]) -> list[str]:
    """Return what is wrong with a file as a whole."""
    if given.study != key.study:
        return [f"study: got {given.study[:40]!r}, expected {key.study}: answers to another study"]
    if key.sheet(given.sheet) is None:
        return [f"sheet: got {given.sheet}, expected one of the study's {len(key.sheets)}"]
    if given.sheet in first:
        return [
            f"sheet: {given.sheet} was answered in {first[given.sheet]} already, expected one "
            "file a sheet"
        ]
    return []


def _checked(key: Key, given: _AnswerFile) -> tuple[list[Rating], list[str]]:
    """Return the ratings of a file, and what is wrong with single ones."""
    sheet = key.sheet(given.sheet)
    assert sheet is not None
    questions = [question.id for question in key.questions]
    found: dict[tuple[int, str, str], Rating] = {}
    problems = []
    for index, each in enumerate(given.ratings):
        head = sheet.heads[each.head - 1] if 1 <= each.head <= len(sheet.heads) else None
        entry = head.entry(each.entry) if head else None
        place = (each.head, each.entry, each.question)
        if head is None:
            problem = f"head: got {each.head}, expected 1 to {len(sheet.heads)}"
        elif entry is None:
            letters = ", ".join(entry.letter for entry in head.entries)
            problem = f"entry: got {each.entry[:20]!r}, expected one of {letters}"
        elif each.question not in questions:
            problem = f"question: got {each.question[:20]!r}, expected {' or '.join(questions)}"
        elif not key.lowest <= each.rating <= key.highest:
            problem = f"rating: got {each.rating}, expected {key.lowest} to {key.highest}"
        elif not entry.pictures:
            problem = f"entry: {each.entry} has no picture and was not asked about"
        elif place in found:
            problem = f"head {each.head}, {each.entry}, {each.question} is rated twice"
        else:
            found[place] = Rating(
                given.sheet, head.data_set, head.capture, entry.method, each.question, each.rating
            )
            continue
        problems.append(f"ratings.{index}.{problem}")
    return list(found.values()), problems
