"""``SPLITS.json``: which subject belongs to train, validation and test; fixed and stored.

A subject's split follows from its id alone, so it never changes when a data set grows, and is the
same in every subset that shows the subject. The file says it for those who read without this
library, and is what readers go by::

    {"format": "any3davatar.anyhead.splits", "version": 1,
     "rule": {"salt": "anyhead-1", "validation": 0.05, "test": 0.0},
     "subjects": {"dh-1000000": "train", ...}}
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.layout import SPLITS
from any3davatar.io import atomic_path
from any3davatar.io.json_file import JsonObject, read_json_object

Split = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[Split, ...] = get_args(Split)
FORMAT = "any3davatar.anyhead.splits"
VERSION = 1


@dataclass(frozen=True)
class SplitRule:
    """Shares of the splits; what is left is for training.

    Attributes:
        salt: another salt gives another lot.
        validation: share of subjects for validation, in [0, 1].
        test: share of subjects for testing, in [0, 1].
    """

    salt: str = "anyhead-1"
    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test <= 1):
            raise DataError(
                f"shares must be at least 0 and add up to at most 1; got validation "
                f"{self.validation} and test {self.test}"
            )

    def split_of(self, subject: str) -> Split:
        """Return a subject's split: its salted hash, as a number in [0, 1), against the shares."""
        digest = hashlib.sha256(f"{self.salt}:{subject}".encode()).digest()
        lot = int.from_bytes(digest[:8], "big") / 2**64
        if lot < self.test:
            return "test"
        return "validation" if lot < self.test + self.validation else "train"


@dataclass(frozen=True)
class Splits:
    """The stored decision.

    Attributes:
        rule: how subjects were assigned.
        subjects: split by subject.
    """

    rule: SplitRule
    subjects: Mapping[str, Split]

    @property
    def counts(self) -> dict[str, int]:
        """Number of subjects of each split."""
        found = Counter(self.subjects.values())
        return {name: found[name] for name in SPLIT_NAMES}


def assigned(rule: SplitRule, subjects: Iterable[str]) -> Splits:
    """Assign subjects to splits."""
    return Splits(rule, {subject: rule.split_of(subject) for subject in sorted(set(subjects))})


def write_splits(root: Path, splits: Splits) -> None:
    """Write ``SPLITS.json``."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "rule": asdict(splits.rule),
        "subjects": dict(sorted(splits.subjects.items())),
    }
    with atomic_path(root / SPLITS) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_splits(root: Path) -> Splits:
    """Read ``SPLITS.json``.

    Raises:
        FormatError: damaged, or of another kind or version.
        OSError: the file can't be opened.
    """
    top = read_json_object(root / SPLITS)
    if top.values.get("format") != FORMAT:
        top.refuse("format", repr(FORMAT))
    if top.values.get("version") != VERSION:
        top.refuse("version", f"{VERSION}; a newer release may have written it")
    if not isinstance(top.values.get("rule"), dict):
        top.refuse("rule", "an object")
    rule = JsonObject(top.path, "rule.", top.values["rule"])
    subjects = top.values.get("subjects")
    if not isinstance(subjects, dict) or not set(subjects.values()) <= set(SPLIT_NAMES):
        top.refuse("subjects", f"an object with values {', '.join(SPLIT_NAMES)}")
    return Splits(
        SplitRule(rule.text("salt"), rule.number("validation"), rule.number("test")), subjects
    )
