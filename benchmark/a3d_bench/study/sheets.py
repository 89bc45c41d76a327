"""The folder of a study: one page a participant, the key, and a word about the key.

A page says nothing of methods: entries are letters, pictures are inside it and carry no names, and
the order tells nothing, since it is balanced over participants (`a3d_bench.study.design`).
"""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from a3d_bench.errors import BenchError
from a3d_bench.report.pictures import LOSSLESS_UP_TO_PX
from a3d_bench.report.templates import html_environment, read_asset
from a3d_bench.store import CaptureRow
from a3d_bench.study.design import balanced_choices, balanced_orders
from a3d_bench.study.entries import StudyData
from a3d_bench.study.key import (
    HIGHEST,
    KEY_NAME,
    LOWEST,
    QUESTIONS,
    Direction,
    Entry,
    Head,
    Key,
    Question,
    Sheet,
    write_key,
)
from any3davatar.io import atomic_path

_README = """\
sheet-001.html ... one page a participant; give participant 7 sheet-007.html and nothing else.
key.json           which letter is which method. Do not hand it out, nor this folder as a whole.

A page opens in any browser from disk, without a network, and saves answers-007.json. On paper:
print it, and click the answers into the same page afterwards. Then

    a3d-bench study score THIS_FOLDER answers-*.json
"""


@dataclass(frozen=True)
class SheetPicture:
    """A picture of an entry.

    Attributes:
        caption: the direction.
        uri: the picture itself, or empty where the method left none.
    """

    caption: str
    uri: str


@dataclass(frozen=True)
class SheetEntry:
    """An entry as a participant sees it.

    Attributes:
        letter: its name.
        pictures: one a direction.
        asked: whether it has any picture to rate.
    """

    letter: str
    pictures: tuple[SheetPicture, ...]
    asked: bool


@dataclass(frozen=True)
class SheetHead:
    """A head as a participant sees it.

    Attributes:
        number: from 1.
        portrait: the picture that methods were given.
        entries: in order.
        small_pictures: whether pixels are shown as squares.
    """

    number: int
    portrait: str
    entries: tuple[SheetEntry, ...]
    small_pictures: bool


@dataclass(frozen=True)
class SheetPage:
    """Everything that the template of a sheet places.

    Attributes:
        study: id of the study.
        number: of the sheet.
        name: the number as file names have it.
        heads: in order.
        questions: asked of every entry.
        ratings: from lowest to highest.
    """

    study: str
    number: int
    name: str
    heads: tuple[SheetHead, ...]
    questions: tuple[Question, ...]
    ratings: tuple[int, ...]

    @property
    def asked(self) -> int:
        """How many ratings the sheet asks for."""
        entries = sum(entry.asked for head in self.heads for entry in head.entries)
        return entries * len(self.questions)


def write_study(
    sets: Sequence[StudyData],
    out: Path,
    *,
    directions: Sequence[Direction],
    participants: int,
    subjects: int = 1,
    seed: int = 0,
) -> Key:
    """Write the sheets, the key, and a word about the key.

    Args:
        sets: what is shown.
        out: folder without a study.
        directions: that every entry is shown from.
        participants: how many sheets.
        subjects: heads that each participant sees of each data set.
        seed: of all orders.

    Returns:
        The key, as written.

    Raises:
        BenchError: ``out`` holds a study, there are fewer heads than asked for, or more methods
            than letters.
    """
    if (out / KEY_NAME).exists():
        raise BenchError(
            f"{out} holds a study already, whose sheets may be out; choose another folder"
        )
    key = Key(
        version=1,
        seed=seed,
        lowest=LOWEST,
        highest=HIGHEST,
        questions=QUESTIONS,
        directions=tuple(directions),
        data_sets=tuple(each.described for each in sets),
        sheets=_sheets(sets, participants, subjects, seed),
    )
    out.mkdir(parents=True, exist_ok=True)
    template = html_environment().get_template("study_sheet.html.j2")
    style = f"{read_asset('style.css')}\n{read_asset('study.css')}"
    script = read_asset("study.js")
    for sheet in key.sheets:
        text = template.render(page=_page(key, sheet, sets), style=style, script=script)
        _write(out / f"sheet-{_name(sheet.number)}.html", text)
    _write(out / "README.txt", _README)
    write_key(key, out)
    return key


def _sheets(
    sets: Sequence[StudyData], participants: int, subjects: int, seed: int
) -> tuple[Sheet, ...]:
    for each in sets:
        heads = {capture.subject for capture in each.results.captures}
        if len(heads) < subjects:
            raise BenchError(
                f"--subjects: {subjects} heads a participant, and {each.results.label} has "
                f"{len(heads)}; ask for fewer"
            )
        if len(each.entrants) > len(string.ascii_uppercase):
            raise BenchError(
                f"{len(each.entrants)} methods, expected at most {len(string.ascii_uppercase)}; "
                "choose with --method"
            )
    generator = np.random.default_rng([seed, participants, subjects])
    shown = [
        _shown_heads(each, participants, subjects, generator, i) for i, each in enumerate(sets)
    ]
    order_of_sets = balanced_orders(len(sets), participants, generator)
    return tuple(
        Sheet(
            number=participant + 1,
            heads=tuple(head for each in order for head in shown[each][participant]),
        )
        for participant, order in enumerate(order_of_sets)
    )


def _shown_heads(
    data: StudyData, participants: int, subjects: int, generator: np.random.Generator, index: int
) -> list[tuple[Head, ...]]:
    """Return the heads of one data set that each participant sees."""
    captures: dict[str, list[CaptureRow]] = {}
    for capture in data.results.captures:
        captures.setdefault(capture.subject, []).append(capture)
    chosen = balanced_choices(list(captures), participants, subjects, generator)
    orders = iter(balanced_orders(len(data.entrants), participants * subjects, generator))
    seen: Counter[str] = Counter()
    made = []
    for choice in chosen:
        heads = []
        for subject in choice:
            of_subject = captures[subject]
            capture = of_subject[seen[subject] % len(of_subject)]
            seen[subject] += 1
            heads.append(_head(data, index, capture, next(orders)))
        made.append(tuple(heads))
    return made


def _head(data: StudyData, index: int, capture: CaptureRow, order: Sequence[int]) -> Head:
    methods = [data.entrants[place].id for place in order]
    return Head(
        data_set=index,
        capture=capture.id,
        entries=tuple(
            Entry(
                letter=letter,
                method=method,
                pictures=sum(
                    bool(data.uris[capture.id, method, title]) for title in data.shown(capture.id)
                ),
            )
            for letter, method in zip(string.ascii_uppercase, methods, strict=False)
        ),
    )


def _page(key: Key, sheet: Sheet, sets: Sequence[StudyData]) -> SheetPage:
    heads = []
    for number, head in enumerate(sheet.heads, 1):
        data = sets[head.data_set]
        entries = tuple(
            SheetEntry(
                entry.letter,
                tuple(
                    SheetPicture(title, data.uris[head.capture, entry.method, title])
                    for title in data.shown(head.capture)
                ),
                entry.pictures > 0,
            )
            for entry in head.entries
        )
        small = data.results.protocol.picture.size_px <= LOSSLESS_UP_TO_PX
        heads.append(SheetHead(number, data.uris[head.capture, "", ""], entries, small))
    return SheetPage(
        key.study,
        sheet.number,
        _name(sheet.number),
        tuple(heads),
        key.questions,
        tuple(range(key.lowest, key.highest + 1)),
    )


def _name(number: int) -> str:
    return f"{number:03d}"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
