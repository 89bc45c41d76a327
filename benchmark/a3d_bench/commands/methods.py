"""What ``a3d-bench methods`` does: list, show, new, test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from a3d_bench.errors import BenchError
from a3d_bench.methods import Limits, RegisteredMethod, all_methods, open_method, resolve_methods

_LISTED_FIRST = ("title", "paper", "year", "repository", "commit")
_COLORS = {"passed": "green", "failed": "red", "undetermined": "yellow"}


@dataclass(frozen=True)
class CheckRequest:
    """What is to be checked.

    Attributes:
        name: of the method.
        adapters: files that define more methods.
        seconds: time limit for a subject.
        memory_gib: memory limit for a subject, or None.
        data: captures to take a head from, or None for the probe's.
        protocol: that they are read by.
    """

    name: str
    adapters: tuple[Path, ...]
    seconds: float
    memory_gib: float | None
    data: Path | None
    protocol: str


def list_methods(adapters: tuple[Path, ...], *, as_json: bool) -> None:
    """Print every method."""
    methods = all_methods(adapters)
    if as_json:
        _print_json([_row(method) for method in methods.values()])
        return
    table = Table("method", "title", "runner", "output", "ready", "found in", box=None)
    for method in methods.values():
        row = _row(method)
        ready = Text("no", "yellow") if row["missing"] else Text("yes", "green")
        if method.card.runner.kind == "python":  # only loading it would tell
            ready = Text("untried")
        table.add_row(
            *(Text(str(row[key])) for key in ("id", "title", "runner", "output")),
            ready,
            Text(row["origin"]),
        )
    Console().print(table)


def show(name: str, adapters: tuple[Path, ...], *, as_json: bool) -> None:
    """Print a card."""
    method = resolve_methods([name], adapters)[name.partition("=")[0]]
    values = method.card.model_dump(mode="json", exclude_defaults=True)
    missing = _missing(method)
    if as_json:
        _print_json({**values, "origin": method.origin, "missing": missing})
        return
    console = Console()
    grid = Table.grid(padding=(0, 2))
    ordered = [key for key in _LISTED_FIRST if key in values]
    ordered += [key for key in values if key not in _LISTED_FIRST and key != "id"]
    for key in ordered:
        grid.add_row(Text(key.replace("_", " "), "bold"), Text(_told(values[key])))
    grid.add_row(Text("found in", "bold"), Text(method.origin))
    if method.card.runner.kind != "python":  # only loading it would tell
        grid.add_row(Text("ready", "bold"), Text("yes" if missing is None else f"no: {missing}"))
    console.print(Text(method.id, "bold"))
    console.print(grid)


def new(id_: str, folder: Path, runner: str) -> None:
    """Write a new method's files and say what comes next."""
    from a3d_bench.methods.scaffold import write_scaffold

    written = write_scaffold(id_, folder, runner)
    console = Console()
    for path in written:
        console.print(Text(str(path)))
    console.print(
        Text(f"next: a3d-bench methods test {id_} --adapter {folder / 'adapter.py'}"),
        soft_wrap=True,
    )


def check(request: CheckRequest, *, as_json: bool) -> int:
    """Check a method; return how many checks failed."""
    from a3d_bench.methods.conformance import as_json as checks_as_json
    from a3d_bench.methods.conformance import check_method, failed

    method = resolve_methods([request.name], request.adapters)[request.name.partition("=")[0]]
    memory = None if request.memory_gib is None else int(request.memory_gib * 2**30)
    limits = Limits(seconds=request.seconds, memory_bytes=memory)
    if method.card.runner.kind == "external" and request.data is None:
        raise BenchError(
            f"{method.id} is a folder of outputs: give --data, the captures that it has outputs of"
        )
    if request.data is None:
        checks = check_method(method, limits=limits)
    else:
        from a3d_bench.captures import open_captures
        from a3d_bench.protocol import load_protocol

        rules = load_protocol(request.protocol)
        captures = open_captures(rules, request.data, limit=1).captures
        if not captures:
            raise BenchError(f"{request.data}: it has no capture for the protocol {rules.name}")
        checks = check_method(method, limits=limits, capture=captures[0], protocol=rules)
    failures = failed(checks)
    if as_json:
        _print_json({"method": method.id, "checks": checks_as_json(checks)})
        return len(failures)
    console = Console()
    grid = Table.grid(padding=(0, 2))
    for one in checks:
        grid.add_row(Text(one.verdict, _COLORS[one.verdict]), Text(one.name, "bold"),
                     Text(one.seen))  # fmt: skip
    console.print(grid)
    passed = sum(one.verdict == "passed" for one in checks)
    open_ = len(checks) - passed - len(failures)
    console.print(
        Text(f"{method.id}: {passed} passed, {len(failures)} failed, {open_} undetermined")
    )
    return len(failures)


def _row(method: RegisteredMethod) -> dict[str, Any]:
    card = method.card
    return {
        "id": card.id,
        "title": card.title,
        "runner": card.runner.kind,
        "output": card.output,
        "full_head": card.full_head,
        "sees_truth": card.sees_truth,
        "paper_name": card.paper_name,
        "missing": _missing(method),
        "origin": method.origin,
    }


def _missing(method: RegisteredMethod) -> str | None:
    """Tell what keeps a method from running here, as far as that is cheap to know."""
    if method.card.runner.kind == "python":
        return None
    try:
        with open_method(method) as run:
            run.prepare()
    except BenchError as error:
        return str(error)
    return None


def _told(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(str(one) for one in value)
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {one}" for key, one in value.items())
    return str(value)


def _print_json(value: Any) -> None:
    import typer

    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
