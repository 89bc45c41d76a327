"""Claims about the paper's nine tables: nothing is lost, doubled, altered or filled in."""

import csv
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from a3d_bench.commands.report_cli import app
from a3d_bench.errors import BenchError
from a3d_bench.paper import PAPER_TABLES, normalized, paper_entries, paper_table
from a3d_bench.paper_comparison import Counted, Measured, paper_comparison
from a3d_bench.report.formats import FORMATS, to_csv, to_latex, to_markdown
from a3d_bench.report.results import read_results
from tests.bench.synthetic_run import FakeMethod, smoke, write_run

NUMBERS = range(1, 10)


def _source_rows() -> list[dict[str, str]]:
    text = files("a3d_bench").joinpath("paper_tables.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    methods = (
        FakeMethod("ours", "Ours", 4, paper_name="Any3DAvatar"),
        FakeMethod("id-sculpt", "ID-Sculpt, theirs", 0, paper_name="ID-Sculpt"),
        FakeMethod("any3davatar-step-5", "Five steps", 1),
    )
    path = tmp_path_factory.mktemp("paper") / "run"
    run = write_run(path, methods=methods, pictures=False)
    return read_results(run).measured()


def test_source_has_241_entries_and_165_deviations() -> None:
    entries = paper_entries()
    assert len(entries) == 241
    assert sum(bool(entry.plus_minus_text) for entry in entries) == 165
    assert {entry.table for entry in entries} == set(NUMBERS)


def test_every_entry_comes_out_exactly_once_and_digit_for_digit() -> None:
    shown = [
        cell
        for number in NUMBERS
        for row in paper_comparison(number, []).rows
        for cell in row.cells
        if cell.note.startswith("arXiv 2604.13856, Table ")
    ]
    entries = {entry.source: entry for entry in paper_entries()}
    assert len(entries) == 241
    assert sorted(cell.note for cell in shown) == sorted(entries)
    for cell in shown:
        assert cell.text == entries[cell.note].printed
        assert cell.value == entries[cell.note].value


@pytest.mark.parametrize("number", NUMBERS)
def test_printed_numbers_are_those_of_the_source(number: int) -> None:
    """Every value and deviation of the file is somewhere in the Markdown of its table."""
    text = to_markdown(paper_comparison(number, []))
    marks = {"yes": "✓", "no": "✗"}
    for row in _source_rows():
        if int(row["table"]) == number and "e-" not in row["value"]:
            value = marks.get(row["value"], row["value"])
            printed = f"{value} ± {row['plus_minus']}" if row["plus_minus"] else value
            assert f"| {printed} |" in text


def test_powers_of_ten_are_printed_as_in_the_paper() -> None:
    table = paper_comparison(7, [])
    assert "| 2.0444 \N{MULTIPLICATION SIGN} 10⁻³ |" in to_markdown(table)
    assert r"2.0444 $\times$ 10$^{-3}$" in to_latex(table)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_table_prints_in_every_format(number: int, name: str) -> None:
    assert FORMATS[name](paper_comparison(number, []))


@pytest.mark.parametrize("number", NUMBERS)
def test_without_runs_nothing_is_filled_in(number: int) -> None:
    table = paper_comparison(number, [])
    for row in table.rows:
        for cell in row.cells:
            if cell.note or row.kind == "header":
                continue
            assert cell.value is None
            assert cell.text in ("", "—", "not run", "no study", "not counted")


def test_tables_1_to_9_have_the_papers_rows_and_columns() -> None:
    for number, table in PAPER_TABLES.items():
        rows = [row for row in _source_rows() if int(row["table"]) == number]
        assert list(dict.fromkeys(row["row"] for row in rows)) == list(table.rows)
        assert list(dict.fromkeys(row["column"] for row in rows)) == [
            column.name for column in table.columns
        ]
        assert {row["dataset"] for row in rows} == {table.dataset}


def test_table_3_lists_methods_in_two_blocks() -> None:
    table = paper_comparison(3, [])
    assert [heading.title for heading in table.headings] == [
        "PanoHead", "SphereHead", "Arc2Avatar", "",
    ]  # fmt: skip
    header = next(row for row in table.rows if row.kind == "header")
    assert [cell.text for cell in header.cells] == [
        "FaceLift", "ID-Sculpt", "HQ-Head", "Any3DAvatar",
    ]  # fmt: skip


def test_measured_value_and_difference_stand_beside_the_papers(measured: Measured) -> None:
    table = paper_comparison(1, [measured])
    rows = {row.title: row for row in table.rows}
    place = [heading.full for heading in table.headings].index("PSNR ↑ paper")
    paper, ours, gap = rows["Any3DAvatar"].cells[place : place + 3]
    column = measured.numbers.main.column("psnr", "none")
    assert column is not None
    assert ours.value == column.estimates["ours"].mean
    assert paper.value == 19.7577
    assert ours.value is not None
    assert gap.value == pytest.approx(ours.value - 19.7577)
    assert gap.text == f"{gap.value:+.4f}"
    assert rows["ID-Sculpt"].cells[place + 1].value is not None
    assert rows["FaceLift"].cells[place + 1].text == "not run"
    lpips = [heading.full for heading in table.headings].index("LPIPS ↓ ours")
    assert rows["Any3DAvatar"].cells[lpips].text == "no value"


def test_other_conditions_than_the_papers_are_said(measured: Measured) -> None:
    notes = " ".join(paper_comparison(1, [measured]).notes)
    assert "Not the paper's conditions: the protocol is smoke@1#" in notes
    assert "the data is anyhead-mini" in notes
    assert "standard error over subjects; the paper does not say what its ± is" in notes


def test_run_of_other_data_is_not_used_and_said(measured: Measured) -> None:
    table = paper_comparison(2, [measured])
    assert any(note.startswith("Not used, since it is not on NeRSemble") for note in table.notes)
    assert all(
        cell.text in ("not run", "no study") for row in table.rows for cell in row.cells[1::3]
    )


def test_step_counts_are_found_by_method_id(measured: Measured) -> None:
    rows = {row.title: row for row in paper_comparison(4, [measured]).rows}
    assert rows["step=5"].cells[4].value is not None
    assert rows["step=10"].cells[4].text == "not run"


def test_times_are_compared_on_one_device_only(measured: Measured) -> None:
    def seconds(run: Measured) -> str:
        table = paper_comparison(3, [run])
        return next(row for row in table.rows[::-1] if row.title == "ours").cells[-1].text

    assert seconds(measured) == "0.54"
    first, *others = measured.timings
    mixed = replace(measured, timings=(replace(first, device="cuda: other"), *others))
    assert seconds(mixed) == "several devices"


def test_infer_and_render_add_up_and_file_types_agree(measured: Measured) -> None:
    table = paper_comparison(7, [measured])
    last = [row.cells[-1] for row in table.rows]
    assert last[1].text == "4.0000 \N{MULTIPLICATION SIGN} 10⁻³"
    assert last[4].value == pytest.approx(0.54 + 0.004)
    assert [cell.text for cell in last[-3:]] == ["gs", "gs", "same"]


def test_method_in_two_runs_is_refused(measured: Measured) -> None:
    with pytest.raises(BenchError, match=r"ID-Sculpt is in 2 places: .*give one of the runs"):
        paper_comparison(1, [measured, measured])


def test_a_row_goes_to_who_was_chosen(measured: Measured) -> None:
    column = measured.numbers.main.column("psnr", "none")
    assert column is not None
    table = paper_comparison(1, [measured], chosen={"any3d avatar": "id-sculpt"})
    place = [heading.full for heading in table.headings].index("PSNR ↑ ours")
    rows = {row.title: row.cells[place] for row in table.rows}
    assert rows["Any3DAvatar"].value == column.estimates["id-sculpt"].mean
    steps = paper_comparison(4, [measured], chosen={"step=10": "ours"})
    row = next(row for row in steps.rows if row.title == "step=10")
    place = [heading.full for heading in steps.headings].index("PSNR ↑ ours")
    assert row.cells[place].value == column.estimates["ours"].mean


def test_two_entrants_of_one_row_ask_for_a_choice(tmp_path: Path) -> None:
    methods = (
        FakeMethod("ours", "Ours", 4, paper_name="Any3DAvatar"),
        FakeMethod("ten-steps", "Ten steps", 1, paper_name="Any3DAvatar"),
    )
    run = read_results(write_run(tmp_path / "run", methods=methods, pictures=False)).measured()
    with pytest.raises(BenchError, match=r"in 2 places: .* say which .* --row 'Any3DAvatar=ten-st"):
        paper_comparison(1, [run])
    table = paper_comparison(1, [run], chosen={"Any3DAvatar": "ours"})
    assert any(row.title == "Any3DAvatar" and row.cells[4].value for row in table.rows)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"MetaHead": "ours"}, r"Table 1 has no row 'MetaHead'; expected one of PanoHead, "),
        (
            {"PanoHead": "panohead"},
            r"nobody is named 'panohead' in these runs; expected one of ours",
        ),
    ],
)
def test_a_choice_of_nobody_is_refused(
    measured: Measured, chosen: dict[str, str], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        paper_comparison(1, [measured], chosen=chosen)


@pytest.mark.parametrize("text", ["step=10=ours", "any3davatar=ours"])
def test_the_command_line_reads_a_choice(text: str, tmp_path: Path) -> None:
    number = "4" if text.startswith("step") else "1"
    run = write_run(tmp_path / "run", methods=(FakeMethod("ours", "Ours", 4),), pictures=False)
    done = CliRunner().invoke(
        app, ["tables", number, "--runs", str(run.path), "--row", text, "--format", "csv"]
    )
    assert done.exit_code == 0, done.output
    rows = {row[0]: row for row in csv.reader(done.output.splitlines()[1:]) if row}
    row = rows["step=10" if number == "4" else "Any3DAvatar"]
    assert float(row[5]) > 0  # PSNR, ours


@pytest.mark.parametrize("text", ["ours", "=ours", "step=10=", ""])
def test_a_choice_that_says_nothing_is_refused(text: str) -> None:
    done = CliRunner().invoke(app, ["tables", "4", "--row", text])
    assert done.exit_code == 2
    assert "expected ROW=METHOD" in done.output


def test_a_data_set_is_counted_beside_the_papers() -> None:
    facts = {
        "ID Number": "16", "Accessory": "✓", "Full Head": "✓", "Camera View": "80",
        "Stylized Head": "✗", "Detailed View": "✗",
    }  # fmt: skip
    table = paper_comparison(6, [], data=Counted("mini", facts))
    rows = {row.title: row for row in table.rows}
    assert [cell.text for cell in rows["AnyHead"].cells] == [
        "1060", "16", "-1044", "✓", "✓", "same", "✓", "✓", "same", "80", "80", "+0",
        "✓", "✗", "differs", "✓", "✗", "differs",
    ]  # fmt: skip
    assert {cell.text for cell in rows["NeRSemble"].cells[1::3]} == {"not counted"}
    assert "Ours: mini." in table.notes
    with pytest.raises(BenchError, match="Table 1 counts no data sets; leave out --data"):
        paper_comparison(1, [], data=Counted("mini", facts))


def test_unknown_table_is_refused() -> None:
    with pytest.raises(BenchError, match="Tables 1 to 9; got 12"):
        paper_table(12)


def test_names_meet_whatever_their_spelling() -> None:
    assert normalized("Open-Diffusion-GS") == normalized("open_diffusiongs")


def test_csv_holds_numbers_in_full(measured: Measured) -> None:
    rows = list(csv.reader(to_csv(paper_comparison(1, [measured])).splitlines()))
    ours = rows[0].index("PSNR ↑ ours")
    values = {row[0]: row[ours] for row in rows[1:]}
    column = measured.numbers.main.column("psnr", "none")
    assert column is not None
    assert float(values["Any3DAvatar"]) == column.estimates["ours"].mean
    assert values["FaceLift"] == "not run"


def test_nersemble_run_goes_to_its_tables(tmp_path: Path) -> None:
    protocol = smoke("data.kind=nersemble", "data.sequences=[EXP-1-head]")
    run = write_run(tmp_path / "n", protocol=protocol, pictures=False, dataset="NeRSemble")
    result = read_results(run).measured()
    rows = {row.title: row for row in paper_comparison(9, [result]).rows}
    assert rows["Any3DAvatar"].cells[4].value is not None
    assert rows["LAM"].cells[4].text == "not run"
