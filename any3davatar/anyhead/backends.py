"""The file that names back ends: strings become objects here and nowhere else.

::

    {"editor": {"kind": "http", "url": "https://...", "token_variable": "EDITOR_TOKEN",
                "timeout_seconds": 120, "attempts": 4, "cost_per_request": 0.04},
     "text_to_image": {"kind": "diffusers", "checkpoint": "checkpoints/sdxl", "steps": 30,
                       "native_size_px": 1024},
     "image_to_views": {"kind": "command", "arguments": ["facelift", "{input}", "{output}"],
                        "timeout_seconds": 900, "frame": "facelift"},
     "enhancement": {"kind": "off"},
     "filter": {"kind": "embedded"}}

What is left out is the embedded back end. Kinds: ``procedural``, ``command``, ``http`` (editor);
``embedded``, ``command``, ``diffusers`` (text_to_image); ``embedded``, ``command``
(image_to_views); ``off``, ``command``, ``diffusers`` (enhancement); ``embedded``, ``command``
(filter). A ``command`` has ``arguments``, a list, and ``timeout_seconds``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from any3davatar.anyhead.editors import (
    Budget,
    CommandEditor,
    GridEditor,
    HttpEditor,
    ProceduralEditor,
)
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.programs import Program
from any3davatar.anyhead.stages.enhancement import (
    CommandEnhancement,
    DiffusersEnhancement,
    Enhancement,
    NoEnhancement,
)
from any3davatar.anyhead.stages.filters import CommandFilter, ConsistencyFilter, HeadFilter
from any3davatar.anyhead.stages.lifting import CommandLifting, EmbeddedLifting, ImageToViews
from any3davatar.anyhead.stages.portraits import (
    CommandPortraits,
    DiffusersPortraits,
    EmbeddedPortraits,
    TextToImage,
)
from any3davatar.io.json_file import JsonObject, read_json_object


@dataclass(frozen=True)
class BackEnds:
    """One back end for each stage that can have others; the embedded ones by default."""

    editor: GridEditor = field(default_factory=ProceduralEditor)
    text_to_image: TextToImage = field(default_factory=EmbeddedPortraits)
    image_to_views: ImageToViews = field(default_factory=EmbeddedLifting)
    enhancement: Enhancement = field(default_factory=NoEnhancement)
    head_filter: HeadFilter = field(default_factory=ConsistencyFilter)


def read_backends(path: Path, *, ledger: Path, cost_limit: float | None) -> BackEnds:
    """Read a file of back ends.

    Args:
        path: the file.
        ledger: where costs are kept.
        cost_limit: most that may be spent; None: back ends that cost something are refused.

    Raises:
        FormatError: damaged, or a member that no back end has.
        DataError: a value that a back end refuses.
        OSError: the file can't be opened.
    """
    top = read_json_object(path)
    budget = None if cost_limit is None else Budget(ledger, cost_limit)
    readers: Mapping[str, Mapping[str, Callable[[JsonObject], Any]]] = {
        "editor": {
            "procedural": lambda _: ProceduralEditor(),
            "command": lambda it: CommandEditor(_program(it), _whole(it, "attempts", 2)),
            "http": lambda it: _http(it, budget),
        },
        "text_to_image": {
            "embedded": lambda _: EmbeddedPortraits(),
            "command": lambda it: CommandPortraits(_program(it)),
            "diffusers": lambda it: DiffusersPortraits(
                _checkpoint(it), _whole(it, "steps", 30), _whole(it, "native_size_px", 1024)
            ),
        },
        "image_to_views": {
            "embedded": lambda _: EmbeddedLifting(),
            "command": lambda it: CommandLifting(
                _program(it), it.text("frame") if "frame" in it.values else "any3davatar"
            ),
        },
        "enhancement": {
            "off": lambda _: NoEnhancement(),
            "command": lambda it: CommandEnhancement(_program(it)),
            "diffusers": lambda it: DiffusersEnhancement(
                _checkpoint(it), _number(it, "strength", 0.25), _whole(it, "steps", 30)
            ),
        },
        "filter": {
            "embedded": lambda _: ConsistencyFilter(),
            "command": lambda it: CommandFilter(_program(it)),
        },
    }
    unknown = top.values.keys() - readers.keys()
    if unknown:
        raise DataError(f"{path}: got {min(unknown)!r}, expected {', '.join(readers)}")
    chosen = {
        stage: _chosen(top, stage, kinds) for stage, kinds in readers.items() if stage in top.values
    }
    embedded = BackEnds()
    return BackEnds(
        editor=chosen.get("editor", embedded.editor),
        text_to_image=chosen.get("text_to_image", embedded.text_to_image),
        image_to_views=chosen.get("image_to_views", embedded.image_to_views),
        enhancement=chosen.get("enhancement", embedded.enhancement),
        head_filter=chosen.get("filter", embedded.head_filter),
    )


def _chosen(top: JsonObject, stage: str, kinds: Mapping[str, Callable[[JsonObject], Any]]) -> Any:
    if not isinstance(top.values[stage], dict):
        top.refuse(stage, "an object with a kind")
    it = JsonObject(top.path, f"{stage}.", top.values[stage])
    kind = it.text("kind")
    if kind not in kinds:
        it.refuse("kind", f"one of {', '.join(kinds)}")
    return kinds[kind](it)


def _program(it: JsonObject) -> Program:
    arguments = it.values.get("arguments")
    if not isinstance(arguments, list) or not all(isinstance(part, str) for part in arguments):
        it.refuse("arguments", "a list of texts: the program and its arguments")
    return Program(tuple(arguments), _number(it, "timeout_seconds", 600.0))


def _http(it: JsonObject, budget: Budget | None) -> HttpEditor:
    return HttpEditor(
        url=it.text("url"),
        token_variable=it.text("token_variable") if "token_variable" in it.values else None,
        timeout_seconds=_number(it, "timeout_seconds", 120.0),
        attempts=_whole(it, "attempts", 4),
        backoff_seconds=_number(it, "backoff_seconds", 2.0),
        cost_per_request=_number(it, "cost_per_request", 0.0),
        budget=budget,
    )


def _checkpoint(it: JsonObject) -> Path:
    return Path(it.path).parent / it.text("checkpoint")


def _number(it: JsonObject, key: str, default: float) -> float:
    return it.number(key) if key in it.values else default


def _whole(it: JsonObject, key: str, default: int) -> int:
    value = _number(it, key, default)
    if value != int(value):
        it.refuse(key, "a whole number")
    return int(value)
