"""Stage v: what is good enough. The paper asks a multimodal language model."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from any3davatar.anyhead.errors import Rejected
from any3davatar.anyhead.pictures import write_views
from any3davatar.anyhead.programs import BackEndFailed, Program, described
from any3davatar.anyhead.quality import HeadLimits, check_head, head_scores
from any3davatar.anyhead.rigs import Rig
from any3davatar.anyhead.stages.portraits import HeadIdea
from any3davatar.core import Views
from any3davatar.io import FormatError, write_png
from any3davatar.io.json_file import read_json_object


@runtime_checkable
class HeadFilter(Protocol):
    """Judges a head. Frozen, and fit for sending to another process."""

    def judge(self, idea: HeadIdea, portrait: Views, views: Views, rig: Rig) -> dict[str, float]:
        """Return scores of an accepted head.

        Raises:
            Rejected: the head is not good enough.
            BackEndFailed: the judge gave no verdict.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what the recipe records about the back end, as JSON."""
        ...


@dataclass(frozen=True)
class ConsistencyFilter:
    """Checks silhouettes across views, coverage, and likeness to the portrait; no network."""

    limits: HeadLimits = field(default_factory=HeadLimits)

    def judge(self, idea: HeadIdea, portrait: Views, views: Views, rig: Rig) -> dict[str, float]:
        """See `HeadFilter`."""
        scores = head_scores(views, rig.cameras, portrait, rig.input_view)
        check_head(scores, self.limits)
        return scores

    def describe(self) -> Mapping[str, Any]:
        """See `HeadFilter`."""
        return {"kind": "embedded", "limits": asdict(self.limits)}


@dataclass(frozen=True)
class CommandFilter:
    """Runs a program, for instance one that asks a language model that sees.

    It finds ``portrait.png`` and ``views/000.png``, ... in the folder ``{input}`` and writes the
    file ``{output}``: ``{"accept": true, "reason": "...", "scores": {"realism": 0.9}}``.
    """

    program: Program

    def judge(self, idea: HeadIdea, portrait: Views, views: Views, rig: Rig) -> dict[str, float]:
        """See `HeadFilter`."""
        with tempfile.TemporaryDirectory(prefix="filter-") as name:
            folder, verdict = Path(name), Path(name) / "verdict.json"
            (folder / "views").mkdir()
            write_png(folder / "portrait.png", portrait.rgb, portrait.alpha)
            write_views(folder / "views", views.rgb, views.alpha)
            self.program.run(
                {"input": str(folder), "output": str(verdict), "prompt": idea.prompt.text}
            )
            try:
                accept, reason, scores = _read_verdict(verdict)
            except (FormatError, OSError) as error:
                raise BackEndFailed(f"the judge gave no verdict: {error}") from error
        if not accept:
            raise Rejected(reason, scores)
        return scores

    def describe(self) -> Mapping[str, Any]:
        """See `HeadFilter`."""
        return {"kind": "command", "arguments": described(self.program.arguments)}


def _read_verdict(path: Path) -> tuple[bool, str, dict[str, float]]:
    top = read_json_object(path)
    accept = top.values.get("accept")
    if not isinstance(accept, bool):
        top.refuse("accept", "true or false")
    scores = top.values.get("scores", {})
    if not isinstance(scores, dict):
        top.refuse("scores", "an object")
    numbers = json.loads(json.dumps(scores), parse_int=float)
    if not all(isinstance(value, float) for value in numbers.values()):
        top.refuse("scores", "an object of numbers")
    return accept, "" if accept else top.text("reason"), numbers
