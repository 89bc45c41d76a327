"""Which files a command works on, where the results go, and how a batch survives a bad file."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from any3davatar.core.errors import InvalidInput
from any3davatar.io import GAUSSIAN_FORMATS, FormatError

console = Console(stderr=True)


class UsageError(ValueError):
    """The command line asks for something that cannot be done; the message says what to change."""


def gaussian_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and those found directly inside the folders named, sorted by name.

    Raises:
        UsageError: a path does not exist, or a folder holds no file of Gaussians.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                p for p in path.iterdir() if p.is_file() and p.suffix.lower() in GAUSSIAN_FORMATS
            )
            if not inside:
                raise UsageError(
                    f"{path}: no file of Gaussians in this folder; looked for "
                    f"{', '.join(sorted(GAUSSIAN_FORMATS))}"
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or folder")
    return found


def output_names(files: Sequence[Path]) -> list[str]:
    """Return one name a file: its stem, or its whole name where stems repeat.

    Raises:
        UsageError: two files have the same name, so their results would overwrite each other.
    """
    stems = [path.stem for path in files]
    names = [p.name if stems.count(p.stem) > 1 else p.stem for p in files]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two inputs are named {name!r}: their results would collide")
    return names


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr where that is a terminal; yields a function that advances it by one."""
    with progress_bars((description, total)) as (advance,):
        yield advance


@contextmanager
def progress_bars(*tasks: tuple[str, int]) -> Iterator[tuple[Callable[[], None], ...]]:
    """Show a bar for the first task, and one more for each other from when it first advances.

    Args:
        tasks: description and total of each.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        shown = [
            bar.add_task(description, total=total, visible=number == 0)
            for number, (description, total) in enumerate(tasks)
        ]

        def advance(task: TaskID) -> None:
            bar.update(task, advance=1, visible=True)

        yield tuple(partial(advance, task) for task in shown)


def for_each_file(files: Sequence[Path], work: Callable[[Path], None]) -> int:
    """Do `work` on every file; a file that cannot be used is reported and does not stop the rest.

    Returns:
        How many files failed.
    """
    failures = 0
    for path in files:
        try:
            work(path)
        except (FormatError, InvalidInput, OSError) as error:
            failures += 1
            text = str(error)
            console.print(
                f"error: {text if str(path) in text else f'{path}: {text}'}",
                markup=False,
                highlight=False,
                style="red",
                soft_wrap=True,
            )
    return failures
