"""One table, five formats: Markdown, LaTeX, HTML, CSV and the terminal show the same cells."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from a3d_bench.report.templates import (
    html_environment,
    latex_environment,
    markdown_environment,
    read_asset,
)
from a3d_bench.tables import TIE, Cell, Table

_TERMINAL_CELL = 18  # an interval with its padding


def to_markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown."""
    return markdown_environment().get_template("table.md.j2").render(table=table, tie=TIE)


def to_latex(table: Table) -> str:
    """Return a ``table`` environment; it needs the package booktabs and nothing else."""
    return latex_environment().get_template("table.tex.j2").render(table=table)


def to_html(table: Table) -> str:
    """Return a page with one table; it needs nothing beside it."""
    template = html_environment().get_template("table_page.html.j2")
    return template.render(table=table, tie=TIE, style=read_asset("style.css"))


def to_csv(table: Table) -> str:
    """Return rows for machines: numbers in full, intervals in columns of their own.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    with_interval = [
        any(row.cells[index].low is not None for row in table.rows)
        for index in range(len(table.headings))
    ]
    head = [table.corner]
    for heading, interval in zip(table.headings, with_interval, strict=True):
        head.append(heading.full)
        if interval:
            head.extend((f"{heading.full} low", f"{heading.full} high"))
    writer.writerow([_inert(text) for text in head])
    for row in table.rows:
        line = [_inert(row.title)]
        for cell, interval in zip(row.cells, with_interval, strict=True):
            line.append(_csv_value(cell))
            if interval:
                line.extend("" if end is None else repr(end) for end in (cell.low, cell.high))
        writer.writerow(line)
    return out.getvalue()


def to_terminal(table: Table) -> RichTable:
    """Return a table that rich prints."""
    made = RichTable(
        title=Text(table.title),
        caption=Text("\n".join(table.notes)) if table.notes else None,
        box=box.SIMPLE_HEAD,
        caption_justify="left",
        title_justify="left",
        title_style="bold",
    )
    made.add_column(Text(table.corner), no_wrap=True)
    for heading in table.headings:
        made.add_column(Text(heading.full), justify="right")
    previous = "entrant"
    for row in table.rows:
        if row.kind != previous and made.rows:
            made.add_section()
        previous = row.kind
        style = {"header": "bold", "apart": "italic"}.get(row.kind, "")
        made.add_row(
            Text(row.title, style=style), *(_terminal_text(cell) for cell in row.cells), style=style
        )
    return made


def for_width(table: Table, columns: int) -> list[Table]:
    """Return a table in parts that a terminal can show, each with the first column.

    Args:
        table: any.
        columns: width of the terminal in characters.
    """
    titles = max([len(table.corner), *(len(row.title) for row in table.rows)])
    fitting = max(1, (columns - titles - 4) // _TERMINAL_CELL)
    starts = range(0, len(table.headings), fitting)
    if len(starts) <= 1:
        return [table]
    return [
        replace(
            table,
            title=table.title if start == 0 else "",
            headings=table.headings[start : start + fitting],
            rows=tuple(
                replace(row, cells=row.cells[start : start + fitting]) for row in table.rows
            ),
            notes=table.notes if start == starts[-1] else (),
        )
        for start in starts
    ]


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
    "csv": to_csv,
}


def in_format(tables: Sequence[Table], name: str) -> str:
    """Return tables below each other; HTML is one page each, so it takes one table only."""
    return "\n".join(FORMATS[name](table) for table in tables)


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _csv_value(cell: Cell) -> str:
    return _inert(cell.text) if cell.value is None else repr(cell.value)


def _terminal_text(cell: Cell) -> Text:
    styles = {"best": "bold green", "tied": "", "muted": "dim", "plain": ""}
    text = Text(cell.text, style=styles[cell.emphasis])
    if cell.emphasis == "tied":
        text.append(f" {TIE}")
    if cell.detail:
        text.append(f"\n{cell.detail}", style="dim")
    return text
