"""What ``a3d-bench run``, ``verify`` and ``demo`` do."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from a3d_bench.methods import Limits, RegisteredMethod, resolve_methods
from a3d_bench.protocol import load_protocol
from a3d_bench.run import Order, Outcome, Progress
from a3d_bench.run import run as run_order
from a3d_bench.store import RunFolder

console = Console(stderr=True)

CONTROLS = ("oracle", "mean-head", "billboard")
DEMO_METHODS = ("any3davatar", *CONTROLS, "faulty")
DEMO_ORACLE_STEPS = 150
HANG_SECONDS = 4.0  # the faulty method of the demo hangs on one subject: no use to watch that long


@dataclass(frozen=True)
class RunRequest:
    """What a person typed; see `a3d_bench.commands.run_cli.run`."""

    protocol: str
    overrides: tuple[str, ...]
    methods: tuple[str, ...]
    variants: tuple[str, ...]
    adapters: tuple[Path, ...]
    data: Path | None
    out: Path | None
    frame: str | None
    limit: int | None
    metrics: tuple[str, ...]
    workers: int | None
    timeout_seconds: float
    memory_gib: float | None
    retry_failures: bool
    report: bool


class TerminalProgress(Progress):
    """A bar a stage on a terminal, and lines everywhere."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[str], None]]:
        """Show a bar on stderr where that is a terminal, else a line at the end."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        start = time.perf_counter()
        count = 0
        with Bars(
            *columns, console=console, transient=True, disable=not sys.stderr.isatty()
        ) as bars:
            task = bars.add_task(f"{name:<14}", total=total or None)

            def done(_remark: str) -> None:
                nonlocal count
                count += 1
                bars.advance(task)

            yield done
        self.say(f"{name:<14} {count:>6}  {time.perf_counter() - start:6.1f} s")

    def say(self, line: str) -> None:
        """Print a line, as it is."""
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def run(request: RunRequest, *, as_json: bool) -> int:
    """Run and report; return the exit code."""
    protocol = load_protocol(request.protocol, request.overrides)
    named = request.methods or (() if request.variants else CONTROLS)
    methods = resolve_methods(named, request.adapters, request.variants)
    memory = None if request.memory_gib is None else int(request.memory_gib * (1 << 30))
    order = Order(
        out=request.out or Path("runs") / protocol.name,
        protocol=protocol,
        data=request.data,
        frame=request.frame,
        methods=methods,
        limits=Limits(seconds=request.timeout_seconds, memory_bytes=memory),
        limit=request.limit,
        metrics=request.metrics,
        workers=request.workers or len(os.sched_getaffinity(0)),
        retry_failures=request.retry_failures,
    )
    outcome = run_order(order, TerminalProgress())
    report = _reported(outcome) if request.report else None
    if as_json:
        typer.echo(json.dumps(_as_json(outcome, report)))
    else:
        _tell(outcome, report)
    return 1 if outcome.too_many_failures else 0


def _reported(outcome: Outcome) -> Path:
    from a3d_bench.report.page import write_report

    return write_report([outcome.run])


def _as_json(outcome: Outcome, report: Path | None) -> dict[str, object]:
    return {
        "run": str(outcome.run.path),
        "report": None if report is None else str(report),
        "protocol": outcome.run.protocol().id,
        "predictions": outcome.predictions,
        "failed": outcome.failed,
        "statuses": dict(outcome.statuses),
    }


def _tell(outcome: Outcome, report: Path | None) -> None:
    """Print the table, what failed, and what to do next."""
    from a3d_bench.report.formats import for_width, to_terminal
    from a3d_bench.report.results import read_results
    from a3d_bench.tables import main_tables

    results = read_results(outcome.run)
    main, _ = main_tables(results.numbers(), results.label, results.unavailable)
    terminal = Console()
    for part in for_width(main, terminal.width):
        terminal.print(to_terminal(part))
    if outcome.failed:
        console.print(
            f"{outcome.failed} of {outcome.predictions} predictions failed; see "
            f"{outcome.run.path / 'failures.jsonl'}",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if report is not None:
        typer.echo(f"report: {report}")


def verify(folder: Path, *, share: float, seed: int, as_json: bool) -> None:
    """Check a run; print what was checked.

    Raises:
        VerificationFailed: something is not what the run says.
    """
    from a3d_bench.errors import VerificationFailed
    from a3d_bench.verify import verify as verify_run

    checked = verify_run(RunFolder.open(folder), share=share, seed=seed)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "files": checked.files,
                    "values": checked.values,
                    "problems": list(checked.problems),
                }
            )
        )
    if checked.problems:
        shown = "\n".join(f"  {problem}" for problem in checked.problems[:20])
        more = len(checked.problems) - 20
        raise VerificationFailed(
            f"{folder} is not what it says: {len(checked.problems)} problems:\n{shown}"
            + (f"\n  and {more} more" if more > 0 else "")
        )
    if not as_json:
        typer.echo(
            f"{folder}: {checked.files} files have their digests, {checked.values} of "
            f"{checked.all_values} values were computed again and are the same"
        )


def _quick_oracle(methods: dict[str, RegisteredMethod]) -> dict[str, RegisteredMethod]:
    """Let the oracle fit half as long: eight small views are no harder than that."""
    oracle = methods["oracle"]
    runner = oracle.card.runner.model_copy(update={"options": {"steps": DEMO_ORACLE_STEPS}})
    card = oracle.card.model_copy(update={"runner": runner})
    return {**methods, "oracle": replace(oracle, card=card)}


def demo(out: Path) -> int:
    """Run the demo protocol with the controls and a method that fails; 0 unless all is broken."""
    start = time.perf_counter()
    protocol = load_protocol("demo")
    order = Order(
        out=out,
        protocol=protocol,
        data=None,
        frame=None,
        methods=_quick_oracle(resolve_methods(DEMO_METHODS)),
        limits=Limits(),
        limits_of={"faulty": Limits(seconds=HANG_SECONDS)},
        # Two dozen views: a second process would take longer to start than it saves.
        workers=1,
    )
    outcome = run_order(order, TerminalProgress())
    report = _reported(outcome)
    _tell(outcome, report)
    typer.echo(f"the demo took {time.perf_counter() - start:.0f} s. Now your own method:")
    typer.echo("  a3d-bench methods new mine         # an adapter, a card and an example job")
    typer.echo("  a3d-bench run --protocol demo --method mine=FOLDER_OF_YOUR_RENDERS")
    return 0 if outcome.failed < outcome.predictions else 1
