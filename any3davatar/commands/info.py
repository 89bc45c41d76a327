"""``any3davatar info``: what a file of Gaussians holds."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from any3davatar.commands.inputs import for_each_file, gaussian_files
from any3davatar.io import GaussianFileInfo, gaussian_file_info


def _numbers(values: Sequence[float] | None) -> str:
    return "-" if values is None else "  ".join(f"{value:.4g}" for value in values)


def as_table(found: GaussianFileInfo) -> Table:
    """Lay one file's description out for a terminal; names from the file are never markup."""
    table = Table(show_header=False, box=None, title=Text(str(found.path)), title_justify="left")
    rows = {
        "format": ", ".join((found.format, *found.dialect)),
        "Gaussians": f"{found.count:,}" + (f" ({found.bad_rows:,} bad)" if found.bad_rows else ""),
        "SH degree": str(found.sh_degree),
        "x y z from": _numbers(found.bounds_min),
        "x y z to": _numbers(found.bounds_max),
        "opacity": _numbers(found.opacity_quantiles) + "   (min 5% 50% 95% max)",
        "scale": _numbers(found.scale_quantiles) + "   (min 5% 50% 95% max, world units)",
        "size": f"{found.size_bytes:,} bytes",
        "stored": " ".join(found.properties),
        "ignored": " ".join(found.ignored_properties) or "-",
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def as_json(found: GaussianFileInfo) -> str:
    """Return the description as one line of JSON."""
    return json.dumps(dataclasses.asdict(found), default=str)


def run(inputs: Sequence[Path], json_lines: bool) -> int:
    """Describe every input on stdout; return how many failed."""
    terminal = Console(soft_wrap=not sys.stdout.isatty())

    def describe(path: Path) -> None:
        found = gaussian_file_info(path)
        if json_lines:
            sys.stdout.write(as_json(found) + "\n")
        else:
            terminal.print(as_table(found))

    return for_each_file(gaussian_files(inputs), describe)
