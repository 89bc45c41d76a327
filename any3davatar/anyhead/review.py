"""``REVIEW.json``: the decisions of the manual quality control, beside contact sheets.

The paper removes inconsistent accessory edits by hand. Here a person looks at the contact sheets
that `any3davatar data review` makes and sets decisions in the file::

    {"format": "any3davatar.anyhead.review", "version": 1,
     "groups": {"Accessory_Rich_Heads_Dataset/dh-0000003/crown-gold":
                {"decision": "accept", "note": "", "scores": {"unchanged": 0.99, ...}}, ...}}

``decision`` is ``undecided`` (what it starts with; counts as accepted, since the automatic checks
passed), ``accept`` or ``reject``. Rejected groups stay on disk; readers leave them out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from any3davatar.anyhead.layout import REVIEW
from any3davatar.io import atomic_path
from any3davatar.io.json_file import JsonObject, read_json_object

Decision = Literal["undecided", "accept", "reject"]
FORMAT = "any3davatar.anyhead.review"
VERSION = 1


@dataclass(frozen=True)
class Verdict:
    """One decision.

    Attributes:
        decision: what was decided.
        note: why, in free text.
        scores: the automatic scores, for whoever decides.
    """

    decision: Decision = "undecided"
    note: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Review:
    """All decisions of a subset, by group (``{subset}/{head}/{group}``)."""

    groups: Mapping[str, Verdict] = field(default_factory=dict)

    @property
    def rejected(self) -> frozenset[str]:
        """Groups that a person rejected."""
        return frozenset(g for g, verdict in self.groups.items() if verdict.decision == "reject")


def write_review(subset_folder: Path, review: Review) -> None:
    """Write ``REVIEW.json``."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "groups": {
            group: {
                "decision": verdict.decision,
                "note": verdict.note,
                "scores": dict(verdict.scores),
            }
            for group, verdict in sorted(review.groups.items())
        },
    }
    with atomic_path(subset_folder / REVIEW) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_review(subset_folder: Path) -> Review:
    """Read ``REVIEW.json``; a subset without the file has no decisions.

    Raises:
        FormatError: damaged, or a decision that is none.
        OSError: the file is there and can't be opened.
    """
    path = subset_folder / REVIEW
    if not path.exists():
        return Review()
    top = read_json_object(path)
    if top.values.get("format") != FORMAT or top.values.get("version") != VERSION:
        top.refuse("format", f"{FORMAT!r} of version {VERSION}")
    groups = top.values.get("groups")
    if not isinstance(groups, dict):
        top.refuse("groups", "an object")
    return Review({name: _verdict(top, name, member) for name, member in groups.items()})


def _verdict(top: JsonObject, name: str, member: object) -> Verdict:
    if not isinstance(member, dict):
        top.refuse("groups", "an object of objects")
    inner = JsonObject(top.path, f"groups.{name}.", member)
    decisions: dict[Any, Decision] = {name: name for name in get_args(Decision)}
    decision = decisions.get(member.get("decision"))
    if decision is None:
        inner.refuse("decision", f"one of {', '.join(decisions)}")
    note = member.get("note", "")
    if not isinstance(note, str):
        inner.refuse("note", "a text")
    scores = member.get("scores", {})
    if not isinstance(scores, dict):
        inner.refuse("scores", "an object")
    scores_object = JsonObject(top.path, f"groups.{name}.scores.", scores)
    return Verdict(decision, note, {key: scores_object.number(key) for key in scores})
