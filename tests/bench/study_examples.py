"""A small study of made-up runs, and answers to it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from a3d_bench.store import RunFolder
from a3d_bench.study.entries import StudyData, parse_directions, study_data
from a3d_bench.study.key import Head, Key, Sheet
from a3d_bench.study.sheets import write_study
from tests.bench.synthetic_run import HOSTILE, FakeMethod, smoke, write_run

SIZE_PX = 32
DIRECTIONS = parse_directions("front,left,back,right")
METHODS = (
    FakeMethod("zz-oracle", "Zz Oracle", 12, sees_truth=True),
    FakeMethod("zz-ours", "Zz Ours", 4, paper_name="Any3DAvatar"),
    FakeMethod("zz-hostile", HOSTILE, 0, wrong_size=(2,)),
    FakeMethod("zz-faulty", "Zz Faulty", -2, crashes_on=1),
)
SHOWN = ("zz-ours", "zz-hostile", "zz-faulty")

Rate = Callable[[Sheet, Head, str, str], int | None]
"""From sheet, head, method and question to a rating, or to none."""


def write_study_run(path: Path, **changed: Any) -> RunFolder:
    """Write a run whose pictures have the protocol's size."""
    protocol = smoke(f"picture.size_px={SIZE_PX}", "metrics=[psnr]", *changed.pop("rules", ()))
    return write_run(
        path, **{"protocol": protocol, "methods": METHODS, "size_px": SIZE_PX, **changed}
    )


def write_small_study(
    runs: Sequence[RunFolder], out: Path, *, participants: int = 6, seed: int = 0, subjects: int = 1
) -> tuple[Key, list[StudyData]]:
    """Write a study, and return its key and what it shows."""
    sets = study_data(runs, DIRECTIONS)
    key = write_study(
        sets,
        out,
        directions=DIRECTIONS,
        participants=participants,
        seed=seed,
        subjects=subjects,
    )
    return key, sets


def answer_file(key: Key, sheet: Sheet, rate: Rate) -> dict[str, Any]:
    """Return what a participant sends back."""
    ratings = [
        {"head": number, "entry": entry.letter, "question": question.id, "rating": rating}
        for number, head in enumerate(sheet.heads, 1)
        for entry in head.entries
        for question in key.questions
        if entry.pictures and (rating := rate(sheet, head, entry.method, question.id)) is not None
    ]
    return {"version": 1, "study": key.study, "sheet": sheet.number, "ratings": ratings}


def write_answers(folder: Path, key: Key, rate: Rate) -> list[Path]:
    """Write a file of answers for every sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for sheet in key.sheets:
        path = folder / f"answers-{sheet.number:03d}.json"
        path.write_text(json.dumps(answer_file(key, sheet, rate)))
        paths.append(path)
    return paths
