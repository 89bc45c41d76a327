"""Where templates are found, and how each format escapes what strangers wrote."""

import functools
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from a3d_bench.errors import BenchError

_IN_PACKAGE = Path(__file__).parents[1] / "_assets" / "reports"
_IN_CHECKOUT = Path(__file__).parents[3] / "reports"

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "≈": r"$\approx$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "°": r"$^\circ$",
    "✓": r"$\surd$",
    "✗": r"$\times$",
    "—": "---",
    "\u00a0": "~",
    "\n": " ",
    "\r": " ",
}
_SUPERSCRIPTS = re.compile("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_PLAIN_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def templates_folder() -> Path:
    """Return the folder of templates: the package's, else the checkout's.

    Raises:
        BenchError: neither is there.
    """
    for folder in (_IN_PACKAGE, _IN_CHECKOUT):
        if (folder / "report.html.j2").is_file():
            return folder
    raise BenchError(
        f"no report templates: looked in {_IN_PACKAGE} and {_IN_CHECKOUT}; install the package "
        "again"
    )


def read_asset(name: str) -> str:
    """Return the text of a style sheet or script."""
    return (templates_folder() / name).read_text(encoding="utf-8")


@functools.cache
def html_environment() -> Environment:
    """Return the environment of HTML templates: everything is escaped."""
    return _environment(autoescape=True)


@functools.cache
def markdown_environment() -> Environment:
    """Return the environment of Markdown templates, with the filter ``md``."""
    environment = _environment(autoescape=False)
    environment.filters["md"] = markdown_text
    return environment


@functools.cache
def latex_environment() -> Environment:
    """Return the environment of LaTeX templates: ``<< >>``, ``<% %>``, the filter ``tex``."""
    environment = _environment(
        autoescape=False,
        delimiters=("<%", "%>", "<<", ">>", "<#", "#>"),
    )
    environment.filters["tex"] = latex_text
    return environment


def latex_text(text: str) -> str:
    """Return text that LaTeX prints as it stands; marks and arrows become mathematics."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return _SUPERSCRIPTS.sub(
        lambda match: f"$^{{{match.group().translate(_PLAIN_DIGITS)}}}$", escaped
    )


def markdown_text(text: str) -> str:
    """Return text that stands in one cell of a Markdown table, and is no markup."""
    one_line = " ".join(text.split())
    marked = re.sub(r"([\\`*_|])", r"\\\1", one_line).replace("](", "]\\(")
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _environment(
    *,
    autoescape: bool,
    delimiters: tuple[str, str, str, str, str, str] = ("{%", "%}", "{{", "}}", "{#", "#}"),
) -> Environment:
    return Environment(
        loader=FileSystemLoader(templates_folder()),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        block_start_string=delimiters[0],
        block_end_string=delimiters[1],
        variable_start_string=delimiters[2],
        variable_end_string=delimiters[3],
        comment_start_string=delimiters[4],
        comment_end_string=delimiters[5],
    )
