"""Claims about reports: whole without a network, safe with hostile names, refusing to mix."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from a3d_bench.aggregate import Entrant, checked_scores, metric_traits
from a3d_bench.align.record import AlignmentRecord, write_alignment
from a3d_bench.commands.report_cli import app
from a3d_bench.errors import BenchError, NotComparable
from a3d_bench.protocol import load_protocol
from a3d_bench.report.charts import curves, heat_maps
from a3d_bench.report.formats import FORMATS, to_csv, to_latex, to_markdown, to_terminal
from a3d_bench.report.leaderboard import leaderboard, write_leaderboard
from a3d_bench.report.page import WALL_CAPTURES, write_report
from a3d_bench.report.pictures import FULL_SCALE, difference_map, flip_heat, read_over
from a3d_bench.report.results import merged, read_results
from a3d_bench.report.templates import latex_text, markdown_text
from a3d_bench.store import RunFolder
from a3d_bench.tables import Cell, Heading, Row, Table
from tests.bench.synthetic_run import HOSTILE, METHODS, FakeMethod, smoke, write_run

_PLAIN = (FakeMethod("one", "One", 2), FakeMethod("two", "Two", 0))


class _Page(HTMLParser):
    """Collects what a page refers to, and its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.shots: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "input", "br", "link"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith("#"):
                self.links.append(value)
            if name == "data-shots" and value:
                for picture, errors, _ in json.loads(value):
                    self.shots.extend(path for path in (picture, errors) if path)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def _parsed(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("report") / "run", subjects=3)


@pytest.fixture(scope="module")
def report(run: RunFolder) -> Path:
    return write_report([run])


def test_page_is_well_formed_and_refers_only_to_files_beside_it(report: Path) -> None:
    page = _parsed(report)
    assert page.open == []
    paths = [*page.links, *page.shots]
    assert len(page.shots) > 20
    for path in paths:
        assert ":" not in path
        assert not path.startswith(("/", ".."))
        assert (report.parent / unquote(path)).is_file()


def test_page_asks_nobody_for_anything(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//cdn|@import|url\(", text)
    assert "default-src 'none'" in text


def test_folder_can_be_moved(report: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in report.parent.rglob("*"):
        if file.is_file():
            target = moved / file.relative_to(report.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    page = _parsed(moved / "report.html")
    assert all((moved / unquote(path)).is_file() for path in [*page.links, *page.shots])


def test_hostile_names_and_reasons_stay_text(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "alert(&#34;x&#34;)" in text
    assert "<b>here</b>" not in text
    # One script: our own.
    assert _parsed(report).tags.count("script") == 1


def test_pictures_come_before_numbers(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    places = [text.index(f'<section id="{name}">') for name in (
        "pictures", "scores", "angles", "worst", "failures", "timing", "provenance")]  # fmt: skip
    assert places == sorted(places)


def test_failures_and_findings_are_shown(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "method error" in text
    assert "it fell over &lt;b&gt;here&lt;/b&gt;" in text
    assert "16 x 16 pixels, expected 32 x 32" in text
    assert (report.parent / "pictures/validation/plain/head-00+neutral/000.webp").is_file()


def test_what_alignment_refused_and_diagnosed_is_shown(tmp_path: Path) -> None:
    protocol = load_protocol(
        "smoke", ["alignment.reported=[none,sim3]", "alignment.main=sim3", "metrics=[psnr]"]
    )
    run = write_run(tmp_path / "run", protocol=protocol, methods=_PLAIN, subjects=2)
    for capture, kept, seen in zip(
        run.captures(), ("kept raw: no <i>face</i>", ""), ((), ("it is mirrored",)), strict=True
    ):
        record = AlignmentRecord("sim3", "one", capture.id, "ok", "", "", seen, kept=kept)
        write_alignment(run, capture.slug, record)
    text = write_report([run]).read_text(encoding="utf-8")
    assert "1 of 2 heads kept raw" in text
    assert "head-00/neutral: kept raw: no &lt;i&gt;face&lt;/i&gt;" in text
    assert "head-01/neutral: it is mirrored" in text


def test_what_is_noted_of_heads_is_counted_and_stays_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", methods=_PLAIN, subjects=3, pictures=False)
    for capture, framed in zip(run.captures(), ("camera", "<b>face</b>", "camera"), strict=True):
        made = run.prediction("one", capture.slug)
        assert made is not None
        details = {"framed by": framed, "source": "0" * 64}
        run.write_prediction(capture.slug, replace(made, details=details))
    text = write_report([run]).read_text(encoding="utf-8")
    noted = "camera (2 heads); &lt;b&gt;face&lt;/b&gt; (1 head)"
    assert f"<dt>framed by</dt><dd>{noted}</dd>" in text
    assert "<dt>source</dt>" not in text


def test_devices_have_tables_of_their_own(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "Seconds on cpu: test" in text
    assert "Seconds on cuda: test" in text


def test_provenance_is_shown_whole(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "<dt>software.packages.torch</dt><dd>2.11</dd>" in text
    assert "<dt>software.commit</dt><dd>—</dd>" in text


def test_tables_are_written_beside_the_page(report: Path) -> None:
    names = {path.name for path in (report.parent / "tables").iterdir()}
    for name in ("main", "imputed", "comparisons", "angles", "strata-1", "timing-1", "timing-2"):
        assert {f"{name}.md", f"{name}.tex", f"{name}.csv"} <= names


def test_report_is_a_function_of_its_run(run: RunFolder, report: Path, tmp_path: Path) -> None:
    again = write_report([run], tmp_path / "again")
    assert again.read_bytes() == report.read_bytes()


def test_finding_leads_out_of_its_folder_to_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", subjects=1)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), "red").save(secret)
    path = run.path / "validation" / "plain" / "head-00+neutral.json"
    path.write_text(
        json.dumps([{"kind": "wrong_size", "message": "m", "thumbnail": "../../../secret.png"}])
    )
    page = write_report([run])
    assert not (page.parent / "pictures/validation").exists()


def test_damaged_pictures_are_shown_as_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", subjects=1, methods=_PLAIN)
    run.view_path("one", "head-00+neutral", 1).write_bytes(b"not a picture")
    run.truth_path("head-00+neutral", 2).unlink()
    page = write_report([run])
    assert not (page.parent / "pictures/one/head-00+neutral/001.webp").exists()
    assert not (page.parent / "pictures/truth/head-00+neutral/002.webp").exists()
    assert not (page.parent / "pictures/one/head-00+neutral/002-errors.webp").exists()


def test_many_heads_are_chosen_evenly(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", subjects=WALL_CAPTURES + 5, methods=_PLAIN[:1], views=4, size_px=16
    )
    text = write_report([run]).read_text(encoding="utf-8")
    assert text.count('class="wall"') == WALL_CAPTURES
    assert f"{WALL_CAPTURES} of {WALL_CAPTURES + 5} captures are shown" in text


def test_report_needs_a_run() -> None:
    with pytest.raises(BenchError, match="at least one run"):
        write_report([])


# Pictures and charts


def test_picture_is_laid_over_the_background(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    Image.fromarray(np.array([[[200, 0, 0, 0], [200, 0, 0, 255]]], np.uint8)).save(path)
    over = read_over(path, (0.0, 1.0, 0.0))
    assert over is not None
    assert over.tolist() == [[[0, 255, 0], [200, 0, 0]]]


def test_difference_map_is_black_where_equal_and_white_from_full_scale_on() -> None:
    truth = np.zeros((1, 3, 3), np.uint8)
    prediction = truth.copy()
    prediction[0, 1] = round(FULL_SCALE * 255 / 3)
    prediction[0, 2] = 255
    shown = difference_map(prediction, truth)
    assert shown is not None
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert shown[0, 1, 0] >= 250  # a third of the scale is full red; 8 bits round it
    assert shown[0, 1, 1:].tolist() == [0, 0]
    assert shown[0, 2].tolist() == [255, 255, 255]
    assert difference_map(prediction[:, :2], truth) is None


def test_flip_sees_a_shifted_edge_where_it_is() -> None:
    truth = np.zeros((32, 32, 3), np.uint8)
    truth[:, 16:] = 255
    prediction = np.roll(truth, 3, axis=1)
    prediction[:, :3] = 0
    shown = flip_heat(prediction, truth)
    assert shown is not None
    brightness = shown.mean((0, 2))
    assert brightness[16:19].min() > 200  # a white band turned black
    assert brightness[:8].max() == brightness[26:].max() == 0
    same = flip_heat(truth, truth)
    assert same is not None
    assert not same.any()
    assert flip_heat(prediction[:, :2], truth) is None


def _rows(run: RunFolder) -> pd.DataFrame:
    return checked_scores(run.scores(), run.protocol())


def test_heat_map_shows_means_over_subjects_by_direction(run: RunFolder) -> None:
    rows = _rows(run)
    entrants = [Entrant("good", "Good"), Entrant("oracle", "Oracle", sees_truth=True)]
    made = heat_maps(rows, metric_traits("psnr"), entrants)
    assert made is not None
    good = made.maps[0]
    assert len(good.patches) == 8
    patch = next(p for p in good.patches if "azimuth 90°, elevation 15°" in p.tip)
    values = rows[
        (rows.method == "good") & (rows.metric == "psnr") & (rows.azimuth_deg == 90)
        & (rows.elevation_deg == 15)
    ]["value"]  # fmt: skip
    assert patch.text == f"{values.mean():.1f}"
    assert patch.tip.endswith("3 heads")
    # The back (180 degrees) is at the left edge; higher elevations are above.
    assert min(good.patches, key=lambda p: (p.y, p.x)).tip.startswith(
        "Good, azimuth -180°, elevation 15°"
    )


def test_best_is_bright_whichever_the_direction_of_the_metric(run: RunFolder) -> None:
    rows = _rows(run)
    flipped = rows.assign(metric=rows.metric.replace("ssim", "lpips[alex]"))
    oracle = [Entrant("oracle", "O"), Entrant("faulty", "F")]
    for metric, table in (("ssim", rows), ("lpips[alex]", flipped)):
        made = heat_maps(table, metric_traits(metric), oracle)
        assert made is not None
        values = [
            (float(p.tip.rsplit(": ", 1)[1].split(",")[0]), p.fill)
            for m in made.maps
            for p in m.patches
            if not p.tip.endswith("no value")  # the input view, which the protocol leaves out
        ]
        assert len(values) > 2
        best = max(values) if metric == "ssim" else min(values)
        assert best[1] == made.scale[-1]


def test_many_angles_are_put_into_bins() -> None:
    generator = np.random.default_rng(0)
    azimuths = generator.uniform(-180, 180, 300)
    rows = pd.DataFrame(
        {
            "method": "a", "metric": "psnr", "subject": "s", "view": range(300), "value": 1.0,
            "azimuth_deg": azimuths, "elevation_deg": generator.uniform(-20, 20, 300),
        }
    )  # fmt: skip
    made = heat_maps(rows, metric_traits("psnr"), [Entrant("a", "A")])
    assert made is not None
    assert len({patch.x for patch in made.maps[0].patches}) == 16
    assert len({patch.y for patch in made.maps[0].patches}) == 5


def test_curve_breaks_where_a_view_has_no_value() -> None:
    rows = pd.DataFrame(
        {"method": "a", "metric": "psnr", "subject": "s", "view": [0, 1, 3, 4],
         "value": [10.0, 12.0, 11.0, 14.0]}
    )  # fmt: skip
    made = curves(rows, metric_traits("psnr"), [Entrant("a", "A")])
    assert made is not None
    (curve,) = made.curves
    assert [len(piece.split()) for piece in curve.pieces] == [2, 2]
    heights = [float(point.split(",")[1]) for piece in curve.pieces for point in piece.split()]
    assert heights[3] < heights[1] < heights[0]  # upward on the screen is less y


def test_charts_without_values_are_left_out(run: RunFolder) -> None:
    rows = _rows(run)
    assert heat_maps(rows, metric_traits("flip"), [Entrant("good", "G")]) is None
    assert curves(rows, metric_traits("flip"), [Entrant("good", "G")]) is None


# Formats

_TABLE = Table(
    "t", "A & B_1", "Method",
    (Heading("x ↑", "G"), Heading("y", "G"), Heading("z")),
    (
        Row(HOSTILE, (Cell("1.0", "[0, 2]", "best", 1.0, 0.0, 2.0), Cell("2"), Cell("=1+1"))),
        Row("ceiling", (Cell("3", "", "tied"), Cell("—"), Cell("50 %")), "apart"),
    ),
    ("note 5 %",),
)  # fmt: skip


def test_latex_is_balanced_and_escaped() -> None:
    text = to_latex(_TABLE)
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"(?<!\\)[%#]", text.removeprefix("% \\usepackage{booktabs}"))
    assert r"A \& B\_1" in text
    assert r"\multicolumn{2}{c}{G}" in text
    assert r"\textbf{1.0}" in text
    assert r"3$^{\approx}$" in text
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    body = [len(re.findall(r"(?<!\\)&", line)) for line in lines[1:]]
    assert body == [3, 3, 3]
    assert len(re.findall(r"\\midrule", text)) == 2


def test_latex_of_any_text_has_no_command_of_the_strangers() -> None:
    assert latex_text(r"\input{x}") == r"\textbackslash{}input\{x\}"
    assert latex_text("10⁻³ ± 2 × 3") == r"10$^{-3}$ $\pm$ 2 $\times$ 3"  # noqa: RUF001


def test_markdown_cells_hold_no_markup_and_no_line_breaks() -> None:
    assert markdown_text("a|b\n<i>*c*</i> [x](y)") == r"a\|b &lt;i&gt;\*c\*&lt;/i&gt; [x]\(y)"
    lines = to_markdown(_TABLE).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {5}


def test_csv_has_intervals_and_no_formulas() -> None:
    rows = list(csv.reader(to_csv(_TABLE).splitlines()))
    assert rows[0] == ["Method", "G x ↑", "G x ↑ low", "G x ↑ high", "G y", "z"]
    assert rows[1] == [HOSTILE, "1.0", "0.0", "2.0", "2", "'=1+1"]


def test_terminal_shows_the_same_cells() -> None:
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(to_terminal(_TABLE))
    text = console.export_text()
    for part in (HOSTILE, "1.0", "[0, 2]", "3 ≈", "50 %", "note 5 %"):
        assert part in text


def test_html_page_of_a_table_is_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "table.html"
    path.write_text(FORMATS["html"](_TABLE), encoding="utf-8")
    page = _parsed(path)
    assert page.open == []
    assert "script" not in page.tags


def test_row_of_another_length_is_refused() -> None:
    with pytest.raises(BenchError, match="row 'r' has 1 cells, expected 2"):
        Table("t", "t", "c", (Heading("a"), Heading("b")), (Row("r", (Cell("1"),)),))


# Comparing


def _written(path: Path, **settings: object) -> RunFolder:
    return write_run(path, **{"methods": _PLAIN, "pictures": False, **settings})  # type: ignore[arg-type]


def test_runs_of_one_protocol_stand_in_one_table(tmp_path: Path) -> None:
    one = _written(tmp_path / "one")
    two = _written(tmp_path / "two", methods=(_PLAIN[0], FakeMethod("third", "Third", 5)))
    together = merged([read_results(one), read_results(two)])
    assert [entrant.title for entrant in together.entrants] == [
        "One (one)", "Two", "One (two)", "Third",
    ]  # fmt: skip
    column = together.numbers().main.columns[0]
    assert column.estimates["one (one)"].mean == column.estimates["one (two)"].mean
    assert len(together.predictions) == 12


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"protocol": smoke("seed=5")}, "protocol smoke@1#"),
        ({"subjects": 2}, "data 3 captures against 2, such as head-02/neutral"),
        ({"views": 6}, "data head-00/neutral has other pictures"),
        ({"networks": {"psnr": "ffff"}}, "network of psnr, aaaa against ffff"),
    ],
)
def test_runs_that_differ_are_refused(
    tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    one = _written(tmp_path / "one", networks={"psnr": "aaaa"})
    two = _written(tmp_path / "two", **{"networks": {"psnr": "aaaa"}, **settings})
    with pytest.raises(NotComparable, match=re.escape(reason)):
        merged([read_results(one), read_results(two)])


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    runs = [_written(tmp_path / "a" / "run"), _written(tmp_path / "b" / "run")]
    with pytest.raises(NotComparable, match="rename a folder"):
        merged([read_results(run) for run in runs])


def test_leaderboard_names_what_it_leaves_out(tmp_path: Path) -> None:
    full = {"subjects": 2, "networks": {"psnr": "aaaa"}}
    _written(tmp_path / "runs/a", **full)
    _written(tmp_path / "runs/deep/b", **{**full, "methods": (FakeMethod("x", HOSTILE, 3),)})
    _written(tmp_path / "runs/c", **{**full, "networks": {"psnr": "bbbb"}})
    _written(tmp_path / "runs/d", subjects=1)
    broken = _written(tmp_path / "runs/e", **full)
    (broken.path / "captures.json").write_text("{")
    found = leaderboard([tmp_path / "runs"])
    (board,) = found.boards
    assert board.runs == tuple(str(tmp_path / "runs" / name) for name in ("a", "deep/b"))
    assert [row.title for row in board.main.rows] == ["One", "Two", HOSTILE]
    reasons = {Path(each.path).name: each.reason for each in found.exclusions}
    assert reasons["c"].startswith("network of psnr, aaaa against bbbb")
    assert reasons["d"] == "partial: 1 of 2 heads"
    assert "captures.json is damaged" in reasons["e"]
    page = write_leaderboard([tmp_path / "runs"], tmp_path / "page")
    parsed = _parsed(page)
    assert parsed.open == []
    assert "script" not in parsed.tags
    assert (page.parent / "board-1-main.csv").is_file()


def test_leaderboard_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no run lies in"):
        leaderboard([tmp_path])


# The command line


def test_compare_prints_and_refuses_with_exit_code_3(tmp_path: Path) -> None:
    one = _written(tmp_path / "one")
    two = _written(tmp_path / "two", methods=(FakeMethod("third", "Third", 5),))
    other = _written(tmp_path / "other", protocol=smoke("seed=5"))
    runner = CliRunner()
    good = runner.invoke(app, ["compare", str(one.path), str(two.path), "--json"])
    assert good.exit_code == 0
    assert [table["name"] for table in json.loads(good.stdout)][:3] == [
        "main", "imputed", "comparisons",
    ]  # fmt: skip
    bad = runner.invoke(app, ["compare", str(one.path), str(other.path)])
    assert bad.exit_code == 3
    assert "don't belong in one table" in bad.stderr


def test_report_of_no_run_ends_with_exit_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "is no run" in result.stderr


def test_tables_command_prints_the_papers_values(tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["tables", "1", "--format", "md"])
    assert result.exit_code == 0
    assert "19.7577 ± 0.2905" in result.stdout
    out = tmp_path / "t.tex"
    assert runner.invoke(app, ["tables", "9", "--format", "tex", "--out", str(out)]).exit_code == 0
    assert "14.5441" in out.read_text(encoding="utf-8")
    assert runner.invoke(app, ["tables", "10"]).exit_code == 2


def test_leaderboard_command_writes_a_page(tmp_path: Path) -> None:
    run = _written(tmp_path / "runs/one", subjects=2, methods=METHODS)
    page = tmp_path / "page"
    result = CliRunner().invoke(app, ["leaderboard", str(run.path), "--out", str(page), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["boards"][0]["runs"] == [str(run.path)]
    assert (page / "index.html").is_file()
