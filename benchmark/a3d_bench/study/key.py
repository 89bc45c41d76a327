"""The key of a study: which letter is which method on which sheet. Not for participants.

A study's id is the digest of its key, and stands on every sheet and in every answer: answers to
another study, or a key that was changed, are found out.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from a3d_bench.errors import BenchError
from a3d_bench.store import write_json
from a3d_bench.types import Alignment

KEY_NAME = "key.json"
LOWEST, HIGHEST = 0, 9
_FILE_LIMIT_BYTES = 1 << 26


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Question(_Section):
    """What is asked of every entry.

    Attributes:
        id: in answers.
        title: in tables.
        text: as participants read it.
        lowest: what the lowest rating means.
        highest: what the highest rating means.
    """

    id: str
    title: str
    text: str
    lowest: str
    highest: str


QUESTIONS = (
    Question(
        id="texture",
        title="Texture quality",
        text="How good do skin, hair and everything else on the head look?",
        lowest="very bad",
        highest="very good",
    ),
    Question(
        id="identity",
        title="Identity consistency",
        text="Is this the person in the portrait, from every side?",
        lowest="somebody else",
        highest="the same person",
    ),
)
"""The paper names the two criteria and not the wording, which is ours."""


class Direction(_Section):
    """A direction that every entry is shown from.

    Attributes:
        title: as sheets say it.
        azimuth_deg: 0 sees the face, positive toward the subject's left.
    """

    title: str
    azimuth_deg: float


class RunMark(_Section):
    """A run that pictures were taken from, by the name of its folder and a digest of its record."""

    name: str
    run_json_sha256: str


class StudiedMethod(_Section):
    """A method as reports show it (`a3d_bench.aggregate.Entrant`)."""

    id: str
    title: str
    sees_truth: bool
    paper_name: str | None


class ShownPicture(_Section):
    """A picture on sheets, or one that should be.

    Attributes:
        capture: of the run.
        method: that made it; empty for the portrait.
        direction: title of the direction; empty for the portrait.
        view: index of the view.
        alignment: what had been done to it.
        sha256: of the run's file; empty where a method left none that can be shown.
    """

    capture: str
    method: str
    direction: str
    view: int
    alignment: Alignment
    sha256: str


class DataSet(_Section):
    """Runs that may stand in one table, and what is shown of them.

    Attributes:
        label: protocol and data.
        kind: of the protocol: ``anyhead``, ``nersemble`` or ``any``.
        remarks: why its numbers are not the paper's.
        protocol_digest: of the protocol.
        data_sha256: of what was scored.
        runs: where pictures come from.
        methods: that are shown.
        pictures: that are shown.
    """

    label: str
    kind: str
    remarks: tuple[str, ...]
    protocol_digest: str
    data_sha256: str
    runs: tuple[RunMark, ...]
    methods: tuple[StudiedMethod, ...]
    pictures: tuple[ShownPicture, ...]


class Entry(_Section):
    """One entry of a head.

    Attributes:
        letter: what participants call it.
        method: what it is.
        pictures: how many there are; an entry without any is not asked about.
    """

    letter: str
    method: str
    pictures: int


class Head(_Section):
    """One head on a sheet.

    Attributes:
        data_set: index of its data set, from 0.
        capture: which head it is.
        entries: in the order they stand.
    """

    data_set: Annotated[int, Field(ge=0)]
    capture: str
    entries: tuple[Entry, ...]

    def entry(self, letter: str) -> Entry | None:
        """Return an entry by its letter, or None."""
        return next((entry for entry in self.entries if entry.letter == letter), None)


class Sheet(_Section):
    """What one participant sees.

    Attributes:
        number: of the participant, from 1.
        heads: in the order they stand.
    """

    number: int
    heads: tuple[Head, ...]


class Key(_Section):
    """Everything that a study is.

    Attributes:
        version: of this layout.
        seed: of all orders.
        lowest: lowest rating.
        highest: highest rating.
        questions: asked of every entry.
        directions: every entry is shown from, as far as its data set has such views.
        data_sets: what is shown.
        sheets: one a participant.
    """

    version: Literal[1]
    seed: int
    lowest: int
    highest: int
    questions: tuple[Question, ...]
    directions: tuple[Direction, ...]
    data_sets: tuple[DataSet, ...]
    sheets: tuple[Sheet, ...]

    @cached_property
    def study(self) -> str:
        """The study's id: a digest of everything here."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def sheet(self, number: int) -> Sheet | None:
        """Return a sheet by its number, or None."""
        return next((sheet for sheet in self.sheets if sheet.number == number), None)


def write_key(key: Key, folder: Path) -> None:
    """Write the key into a study's folder."""
    write_json(folder / KEY_NAME, {"study": key.study, **key.model_dump(mode="json")})


def read_key(folder: Path) -> Key:
    """Return the key of a study.

    Raises:
        BenchError: there is none, it is damaged, or somebody changed it.
    """
    path = folder / KEY_NAME
    if not path.is_file():
        raise BenchError(f"{folder} is no study: it has no {KEY_NAME}; `a3d-bench study make` does")
    if path.stat().st_size > _FILE_LIMIT_BYTES:
        raise BenchError(f"{path} has {path.stat().st_size} bytes, expected a key of a study")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        study = values.pop("study")
        key = Key.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BenchError(
            f"{path}: {place}: {first['msg']}; it is no key of this version"
        ) from error
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise BenchError(f"{path} is damaged: {error}; put the one that was made back") from error
    problem = _contradiction(key)
    if problem or key.study != study:
        raise BenchError(
            f"{path} was changed after it was made: {problem or 'its digest is another'}; put the "
            "one that was made back, since sheets and answers belong to it"
        )
    return key


def _contradiction(key: Key) -> str:
    """Return what in a key points to nothing, or nothing."""
    for sheet in key.sheets:
        for head in sheet.heads:
            if head.data_set >= len(key.data_sets):
                return f"sheet {sheet.number} shows data set {head.data_set}"
            known = {method.id for method in key.data_sets[head.data_set].methods}
            for entry in head.entries:
                if entry.method not in known:
                    return f"sheet {sheet.number} shows {entry.method!r}"
    return ""
