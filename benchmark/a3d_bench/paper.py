"""The paper's nine tables (arXiv 2604.13856) as typed data: every number, digit for digit.

The numbers are in ``paper_tables.csv`` beside this file; what the tables look like is here. A row
of the file is one entry of one table; the paper's ``±`` belongs to the entry it follows. The paper
says that metrics are averaged over the test set, and not whether ``±`` is a standard deviation or a
standard error.
"""

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from a3d_bench.errors import BenchError

PAPER = "arXiv 2604.13856"
Kind = Literal["metric", "time", "study", "fact"]


@dataclass(frozen=True)
class PaperEntry:
    """One entry of one table of the paper.

    Attributes:
        table: 1 to 9.
        dataset: that it was measured on; empty for times and for the table of data sets.
        row: method, step count, or data set.
        column: what it is.
        text: the value as printed.
        value: as a number, or None where it is a word.
        plus_minus_text: what follows ``±`` as printed, or empty.
    """

    table: int
    dataset: str
    row: str
    column: str
    text: str
    value: float | None
    plus_minus_text: str

    @property
    def source(self) -> str:
        """Where it stands: paper, table, row and column."""
        return f"{PAPER}, Table {self.table}, {self.row}, {self.column}"

    @property
    def decimals(self) -> int:
        """Digits after the point, as printed."""
        return len(self.text.partition("e")[0].partition(".")[2])

    @property
    def printed(self) -> str:
        """The value with its ``±``, as the paper prints it."""
        value = _printed(self.text)
        return f"{value} ± {self.plus_minus_text}" if self.plus_minus_text else value


@dataclass(frozen=True)
class PaperColumn:
    """What a column, or a line of a table that is lying on its side, shows.

    Attributes:
        name: its name in the data.
        title: as printed, with the arrow of the better direction.
        kind: a metric of the harness, a time, the user study, or a fact about a data set.
        family: of the metric (`a3d_bench.aggregate.family_of`), or the field of
            `a3d_bench.types.Seconds`; ``infer+render`` for their sum; empty otherwise.
    """

    name: str
    title: str
    kind: Kind
    family: str = ""


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper, and how it is laid out.

    Attributes:
        number: 1 to 9.
        title: its caption.
        corner: heading of the first column.
        rows: in order: methods, step counts, or data sets.
        columns: in order.
        dataset: that it is about, or empty.
        blocks: for a table that lists methods from left to right: how many stand in each block;
            empty for one that lists them from top to bottom.
    """

    number: int
    title: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[PaperColumn, ...]
    dataset: str = ""
    blocks: tuple[int, ...] = ()

    def entry(self, row: str, column: str) -> PaperEntry:
        """Return an entry.

        Raises:
            BenchError: the paper's table has none there.
        """
        try:
            return _by_place()[self.number, row, column]
        except KeyError as error:
            raise BenchError(
                f"the paper's Table {self.number} has no entry {row!r}, {column!r}"
            ) from error


_METRICS = (
    PaperColumn("LPIPS", "LPIPS ↓", "metric", "lpips"),
    PaperColumn("PSNR", "PSNR ↑", "metric", "psnr"),
    PaperColumn("SSIM", "SSIM ↑", "metric", "ssim"),
    PaperColumn("CSIM", "CSIM ↑", "metric", "csim"),
    PaperColumn("DreamSim", "DreamSim ↓", "metric", "dreamsim"),
)
_STUDY = PaperColumn("UserStudy", "User Study ↑", "study")
_TIME = PaperColumn("Time", "Time (s) ↓", "time", "infer")
_HEADS = ("PanoHead", "SphereHead", "Arc2Avatar", "FaceLift", "ID-Sculpt", "HQ-Head", "Any3DAvatar")
_STEPS = ("step=1", "step=5", "step=10", "step=20", "step=30")

PAPER_TABLES: Mapping[int, PaperTable] = {
    table.number: table
    for table in (
        PaperTable(
            1, "Quantitative comparison on the AnyHead dataset.", "Method", _HEADS,
            (*_METRICS, _STUDY), "AnyHead",
        ),
        PaperTable(
            2, "Quantitative comparison on the NeRSemble dataset.", "Method", _HEADS,
            (*_METRICS, _STUDY), "NeRSemble",
        ),
        PaperTable(
            3, "Inference time comparison.", "Method", _HEADS,
            (PaperColumn("InferTime", "Time (s) ↓", "time", "infer"),), blocks=(3, 4),
        ),
        PaperTable(
            4,
            "Comparison of one-step and multi-step denoising results (w/o AVAS) on the AnyHead "
            "dataset.",
            "Step", _STEPS, (*_METRICS, _TIME), "AnyHead",
        ),
        PaperTable(
            5,
            "Comparison of one-step and multi-step denoising results (w/o AVAS) on the NeRSemble "
            "dataset.",
            "Step", _STEPS, (*_METRICS, _TIME), "NeRSemble",
        ),
        PaperTable(
            6, "Comparison with existing head datasets.", "Dataset",
            ("Ava-256", "NeRSemble", "RenderMe-360", "AnyHead"),
            (
                PaperColumn("Identities", "ID Number", "fact"),
                PaperColumn("Accessory", "Accessory", "fact"),
                PaperColumn("FullHead", "Full Head", "fact"),
                PaperColumn("CameraViews", "Camera View", "fact"),
                PaperColumn("StylizedHead", "Stylized Head", "fact"),
                PaperColumn("DetailedView", "Detailed View", "fact"),
            ),
        ),
        PaperTable(
            7, "Comparison of runtime with full-head reconstruction methods.", "Method", _HEADS,
            (
                PaperColumn("RenderTime", "Render Time (s) ↓", "time", "render"),
                PaperColumn("InferRenderTime", "Infer + Render Time (s) ↓", "time", "infer+render"),
                PaperColumn("FileType", "File Type", "fact", "output"),
            ),
            blocks=(7,),
        ),
        PaperTable(
            8, "Quantitative comparison with image-to-3D methods on the AnyHead dataset.",
            "Method", ("TRELLIS", "Open-Diffusion-GS", "Any3DAvatar"), _METRICS, "AnyHead",
        ),
        PaperTable(
            9,
            "Quantitative comparison with non-full-head 3D head reconstruction methods on the "
            "NeRSemble V2 dataset.",
            "Method", ("GPAvatar", "GAGAvatar", "CAP4D", "LAM", "FastAvatar", "Any3DAvatar"),
            _METRICS, "NeRSemble",
        ),
    )
}  # fmt: skip


@functools.cache
def paper_entries() -> tuple[PaperEntry, ...]:
    """Return every entry of the paper's tables, in the file's order."""
    text = files("a3d_bench").joinpath("paper_tables.csv").read_text(encoding="utf-8")
    return tuple(
        PaperEntry(
            int(row["table"]),
            row["dataset"],
            row["row"],
            row["column"],
            row["value"],
            _number(row["value"]),
            row["plus_minus"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def paper_table(number: int) -> PaperTable:
    """Return a table of the paper.

    Raises:
        BenchError: there is none with this number.
    """
    if number not in PAPER_TABLES:
        raise BenchError(f"the paper has Tables 1 to 9; got {number}")
    return PAPER_TABLES[number]


def normalized(name: str) -> str:
    """Return a name's letters and digits in lower case: how methods and rows find each other."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@functools.cache
def _by_place() -> dict[tuple[int, str, str], PaperEntry]:
    return {(entry.table, entry.row, entry.column): entry for entry in paper_entries()}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def scientific(mantissa: str, exponent: int) -> str:
    """Return a number times a power of ten, as the paper prints it."""
    return f"{mantissa} \N{MULTIPLICATION SIGN} 10{str(exponent).translate(_SUPERSCRIPT)}"


def _printed(text: str) -> str:
    """Return a value as the paper prints it: powers of ten, and marks for yes and no."""
    mantissa, e, exponent = text.partition("e")
    if e and _number(text) is not None:
        return scientific(mantissa, int(exponent))
    return {"yes": "✓", "no": "✗"}.get(text, text)


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
