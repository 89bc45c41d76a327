"""What a reader found in a folder."""

from dataclasses import dataclass
from typing import Literal

from a3d_bench.types import Capture

Kind = Literal["anyhead", "nersemble", "imported", "cameras"]


@dataclass(frozen=True)
class Problem:
    """Something that can't be scored, and why; the rest goes on.

    Attributes:
        subject: the subject or capture, as the folder names it.
        reason: what, got, expected, what to do; it names the file.
    """

    subject: str
    reason: str


@dataclass(frozen=True, eq=False)
class Found:
    """Captures of a folder, before a protocol chooses among them.

    Attributes:
        kind: the layout that was recognised.
        recognised: the same in words, with the folder and counts.
        captures: those that are whole, by id.
        problems: everything else.
    """

    kind: Kind
    recognised: str
    captures: tuple[Capture, ...]
    problems: tuple[Problem, ...]
