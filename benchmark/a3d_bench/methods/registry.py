"""Which methods there are, and where each comes from.

Three sources: entry points of the group ``a3d_bench.methods`` (a table behind each: a new row needs
no reinstall), files given as ``--adapter``, and a method's name followed by ``=FOLDER``, for
outputs that were made elsewhere.

A table maps an id to the path of its card, to the values of a card, or to a `MethodCard`.
"""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from a3d_bench.errors import BenchError
from a3d_bench.methods.card import (
    ExternalRunner,
    MethodCard,
    OutputKind,
    PythonRunner,
    card_of,
    read_card,
)

GROUP = "a3d_bench.methods"
_SUFFIXES: Mapping[OutputKind, set[str]] = {
    "gaussians": {".splat", ".spz", ".safetensors", ".ply"},
    "mesh": {".glb", ".obj", ".ply"},
    "video": {".mp4", ".mov", ".webm", ".mkv"},
    "views": {".png", ".jpg", ".jpeg"},
}


@dataclass(frozen=True)
class RegisteredMethod:
    """A method, and where it was found.

    Attributes:
        card: what is known about it.
        origin: where it was found, for people.
        folder: that paths in the card are relative to, or None.
    """

    card: MethodCard
    origin: str
    folder: Path | None

    @property
    def id(self) -> str:
        """Its name."""
        return self.card.id


def all_methods(adapters: Sequence[Path] = ()) -> dict[str, RegisteredMethod]:
    """Return every method by id: those of installed packages, then those of adapter files.

    Raises:
        BenchError: two have one id, or a table can't be read.
    """
    found: dict[str, RegisteredMethod] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        origin = point.value
        try:
            table = point.load()
        except Exception as error:  # whatever a stranger's package raises while it is imported
            raise BenchError(
                f"entry point {point.name} = {origin}: it can't be loaded: "
                f"{type(error).__name__}: {error}; repair or uninstall its package"
            ) from error
        _add(found, _rows(table, origin, None))
    for path in adapters:
        _add(found, adapter_methods(path))
    return found


def adapter_methods(path: Path) -> dict[str, RegisteredMethod]:
    """Return the methods of a Python file with a table ``METHODS``.

    Raises:
        BenchError: the file can't be run, or holds no such table.
    """
    module = load_file(path)
    if not hasattr(module, "METHODS"):
        raise BenchError(
            f"{path}: it defines no METHODS; expected a table such as "
            '{"my-method": Path(__file__).with_name("card.toml")}'
        )
    return _rows(module.METHODS, str(path), path.resolve().parent)


def resolve_methods(
    names: Sequence[str], adapters: Sequence[Path] = (), variants: Sequence[str] = ()
) -> dict[str, RegisteredMethod]:
    """Return the methods that a user asked for, in that order.

    A name may be ``id``, or ``id=FOLDER``: outputs that somebody made with it already. An id that
    is not registered is taken with a folder too, as views in our frame. Variants come last; see
    `variant_method`.

    Raises:
        BenchError: an unknown name, or one asked for twice.
    """
    known = all_methods(adapters)
    chosen: dict[str, RegisteredMethod] = {}
    for name in names:
        id_, equals, folder = name.partition("=")
        method = external_method(id_, Path(folder), known.get(id_)) if equals else known.get(id_)
        if method is None:
            raise BenchError(_unknown(id_, known))
        if id_ in chosen:
            raise BenchError(f"the method {id_} was asked for twice; name it once")
        chosen[id_] = method
    for text in variants:
        method = variant_method(text, known)
        if method.id in {*chosen, *known}:
            raise BenchError(f"--variant {text}: the name {method.id} is taken; choose another")
        chosen[method.id] = method
    return chosen


def variant_method(text: str, known: Mapping[str, RegisteredMethod]) -> RegisteredMethod:
    """Return a registered method with other options, under a name of its own.

    Args:
        text: ``NAME=METHOD,option=value,...``. A value is JSON (``10``, ``0.5``, ``true``) or plain
            text; a path of a file is made absolute, so that it means the same in every process.
        known: the registered methods.

    Raises:
        BenchError: not so written, an unknown method, or one that has no options.
    """
    name, equals, rest = text.partition("=")
    id_, *assignments = rest.split(",")
    if not equals or not assignments or not all("=" in one for one in assignments):
        raise BenchError(
            f"--variant {text!r}: expected NAME=METHOD,option=value, such as "
            "ten-steps=any3davatar,steps=10"
        )
    method = known.get(id_)
    if method is None:
        raise BenchError(_unknown(id_, known))
    if not isinstance(method.card.runner, PythonRunner):
        raise BenchError(
            f"--variant {text!r}: {id_} runs as {method.card.runner.kind}, which has no options; "
            "expected a method with a python runner"
        )
    options = {key: _option(value) for key, _, value in (a.partition("=") for a in assignments)}
    values = method.card.model_dump(exclude_unset=True)
    values["id"] = values["title"] = name  # a title with a path in it leaves a table no room
    values["notes"] = [*method.card.notes, f"{method.card.title} with {', '.join(assignments)}."]
    values["runner"] = {**values["runner"], "options": {**method.card.runner.options, **options}}
    return RegisteredMethod(card_of(values, f"--variant {text}"), method.origin, method.folder)


def _option(text: str) -> str | int | float | bool:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if isinstance(value, bool | int | float):
        return value
    return str(Path(text).resolve()) if Path(text).is_file() else text


def external_method(
    id_: str, folder: Path, known: RegisteredMethod | None, output: OutputKind | None = None
) -> RegisteredMethod:
    """Return a method whose outputs lie in a folder.

    Args:
        id_: its name.
        folder: where they lie.
        known: the registered method of that name, whose facts hold, or None.
        output: what lies there; None: what the card says, or else what is found.
    """
    if not folder.is_dir():
        raise BenchError(
            f"{id_}={folder}: there is no such folder; expected one with a method's outputs"
        )
    runner = ExternalRunner(kind="external", folder=str(folder.resolve()))
    if known is None:
        kind = output or _kind_in(folder)
        card = card_of(
            {"id": id_, "title": id_, "output": kind, "runner": runner}, f"{id_}={folder}"
        )
        return RegisteredMethod(card, f"folder {folder}", None)
    old = known.card.runner
    if isinstance(old, ExternalRunner):
        runner = runner.model_copy(update={"result": old.result, "camera_path": old.camera_path})
    changed = {"runner": runner, "output": output or _kind_in(folder, known.card.output)}
    card = known.card.model_copy(update=changed)
    return RegisteredMethod(card, f"folder {folder} with the card of {known.origin}", known.folder)


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module of its own name, once a process.

    Raises:
        BenchError: there is none, or it fails.
    """
    resolved = path.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:12]
    name = f"a3d_adapter_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    if not resolved.is_file():
        raise BenchError(f"{path}: there is no such file; expected a Python file")
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise BenchError(f"{path}: expected a Python file, named *.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a stranger's file raises
        del sys.modules[name]
        raise BenchError(f"{path}: it can't be run: {type(error).__name__}: {error}") from error
    return module


def _rows(table: Any, origin: str, folder: Path | None) -> dict[str, RegisteredMethod]:
    if not isinstance(table, Mapping):
        raise BenchError(f"{origin}: got {type(table).__name__}, expected a table of id to card")
    rows = {}
    for id_, row in table.items():
        if isinstance(row, MethodCard):
            card, beside = row, folder
        elif isinstance(row, Mapping):
            card, beside = card_of(row, f"{origin}, row {id_!r}"), folder
        elif isinstance(row, str | Path):
            path = Path(row) if folder is None else folder / row
            card, beside = read_card(path), path.resolve().parent
        else:
            raise BenchError(
                f"{origin}, row {id_!r}: got {type(row).__name__}, expected a card or its path"
            )
        if card.id != id_:
            raise BenchError(f"{origin}: row {id_!r} has the card of {card.id!r}; rename one")
        rows[card.id] = RegisteredMethod(card, origin, beside)
    return rows


def _add(found: dict[str, RegisteredMethod], rows: Mapping[str, RegisteredMethod]) -> None:
    for id_, row in rows.items():
        if id_ in found:
            raise BenchError(
                f"the method {id_} is defined twice: by {found[id_].origin} and by {row.origin}; "
                "rename one"
            )
        found[id_] = row


def _kind_in(folder: Path, preferred: OutputKind = "views") -> OutputKind:
    """Tell what lies in a folder, by the suffixes down to two levels."""
    suffixes = {
        path.suffix.lower() for pattern in ("*", "*/*", "*/*/*") for path in folder.glob(pattern)
    }
    if suffixes & _SUFFIXES[preferred]:
        return preferred
    found: list[OutputKind] = [kind for kind in _SUFFIXES if suffixes & _SUFFIXES[kind]]
    return found[0] if found else preferred


def _unknown(id_: str, known: Mapping[str, RegisteredMethod]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(id_, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "`a3d-bench methods list` names them"
    return f"there is no method {id_!r}; {hint} Give --adapter FILE.py or {id_}=FOLDER for others"
