"""The tables of a study: ratings, tests, agreement, and what came back."""

from collections.abc import Sequence

from a3d_bench.aggregate import SIGNIFICANT, Estimate
from a3d_bench.paper_comparison import Rated
from a3d_bench.report.formats import in_format
from a3d_bench.report.templates import html_environment, read_asset
from a3d_bench.study.scores import RatedColumn, RatedDataSet, SheetReturn, StudyScores
from a3d_bench.tables import (
    NOTHING,
    TIE,
    Cell,
    Heading,
    Row,
    Table,
    comparison_cells,
    coverage_cell,
    mean_cell,
)

_DIGITS = 2


def study_tables(scores: StudyScores) -> list[Table]:
    """Return the tables of a study: one of ratings a data set, then what stands behind them."""
    return [
        *(_ratings_table(scores, each, i) for i, each in enumerate(scores.data_sets, 1)),
        *(_comparison_table(each, i) for i, each in enumerate(scores.data_sets, 1)),
        *(_agreement_table(each, i) for i, each in enumerate(scores.data_sets, 1)),
        _returns_table(scores),
    ]


def rated(scores: StudyScores) -> list[Rated]:
    """Return what the paper's tables take from a study."""
    return [
        Rated(
            f"study {scores.study} on {each.label}, {_returned(scores)} participants",
            each.kind,
            each.remarks,
            each.entrants,
            each.overall.estimates,
        )
        for each in scores.data_sets
    ]


def in_text(tables: Sequence[Table], name: str) -> str:
    """Return tables in a format of `a3d_bench.report.formats.FORMATS`; HTML is one page."""
    if name != "html":
        return in_format(tables, name)
    template = html_environment().get_template("study_scores.html.j2")
    return template.render(tables=tables, tie=TIE, style=read_asset("style.css"))


def _ratings_table(scores: StudyScores, each: RatedDataSet, number: int) -> Table:
    overall = each.overall
    rows = [
        Row(
            entrant.title,
            (
                *(_rating_cell(column.estimates[entrant.id]) for column in each.columns),
                _count_cell(overall.estimates[entrant.id]),
                coverage_cell(overall.estimates[entrant.id], "places on returned sheets"),
            ),
            "apart" if entrant.sees_truth else "entrant",
        )
        for entrant in each.entrants
    ]
    return Table(
        f"study-{number}",
        f"User study on {each.label}: ratings from {scores.lowest} to {scores.highest}",
        "Method",
        (
            *(Heading(f"{column.title} ↑") for column in each.columns),
            Heading("Ratings"),
            Heading("Rated"),
        ),
        tuple(rows),
        _ratings_notes(scores, each),
    )


def _ratings_notes(scores: StudyScores, each: RatedDataSet) -> tuple[str, ...]:
    notes = [
        "Mean of participants' means, with its interval over participants; it says nothing of "
        "other heads. Bold: better than every other method (sign-flip test by participant, "
        f"p < {SIGNIFICANT} after Holm over the study's {scores.tests} tests). {TIE}: the best, "
        "and those that it can't be told from."
    ]
    rules = {e.interval.rule for c in each.columns for e in c.estimates.values() if e.interval}
    if "student-t" in rules:
        notes.append("Fewer than 6 participants: Student's t interval, for want of draws.")
    if scores.tests and scores.smallest_p * scores.tests >= SIGNIFICANT:
        notes.append(
            f"With so few participants the smallest p that a test can give is "
            f"{scores.smallest_p:.3g}, and {scores.tests} tests are corrected for: a tie may only "
            "mean that nothing could be told."
        )
    if any(e.scored < e.expected for e in each.overall.estimates.values()):
        notes.append(
            "Rated: share of the places on returned sheets. A method without a picture was not "
            "asked about there, and a question may be left open: neither counts as a rating."
        )
    if any(entrant.sees_truth for entrant in each.entrants):
        notes.append("Below the line: shown the truth, so a ceiling and no competitor.")
    return tuple(notes)


def _rating_cell(estimate: Estimate) -> Cell:
    if estimate.mean is None:
        return Cell(NOTHING, emphasis="muted", note="no rating")
    note = f"{estimate.subjects} participants, {estimate.views} ratings"
    return mean_cell(estimate, estimate.mean, _DIGITS, note)


def _count_cell(estimate: Estimate) -> Cell:
    return Cell(str(estimate.scored), value=float(estimate.scored))


def _comparison_table(each: RatedDataSet, number: int) -> Table:
    headings = ("Best", "Against", "Difference", "p", "p, Holm", "Detectable", "Participants")
    return Table(
        f"study-comparisons-{number}",
        f"Is the best better? Paired differences over participants, {each.label}",
        "Question",
        tuple(Heading(title) for title in (*headings, "Verdict")),
        tuple(
            Row(column.title, comparison_cells(comparison, each.titles, _DIGITS))
            for column in each.columns
            for comparison in column.comparisons
        ),
        (
            "Over heads and questions that a participant rated for both. Sign-flip test by "
            "participant; detectable: the difference that would be seen four "
            "times in five at p < 0.05 without correction.",
        ),
    )


def _agreement_table(each: RatedDataSet, number: int) -> Table:
    return Table(
        f"study-agreement-{number}",
        f"Do participants agree? Krippendorff's alpha, interval, {each.label}",
        "Question",
        (Heading("Alpha"), Heading("Entries"), Heading("Ratings")),
        tuple(Row(column.title, _agreement_cells(column)) for column in each.columns),
        (
            "1: all agree; 0: as by chance. Entries (a method's head and question) that at least "
            "two participants rated.",
        ),
    )


def _agreement_cells(column: RatedColumn) -> tuple[Cell, ...]:
    found = column.agreement
    alpha = (
        Cell(NOTHING, emphasis="muted", note="no two ratings differ, or none can be compared")
        if found.alpha is None
        else Cell(f"{found.alpha:.3f}", value=found.alpha)
    )
    return (
        alpha,
        Cell(str(found.units), value=float(found.units)),
        Cell(str(found.ratings), value=float(found.ratings)),
    )


def _returns_table(scores: StudyScores) -> Table:
    """Return how much came back; sheets that were answered in full share a line."""
    whole = [sheet for sheet in scores.sheets if sheet.returned and sheet.answered == sheet.asked]
    partial = [sheet for sheet in scores.sheets if sheet.returned and sheet.answered < sheet.asked]
    absent = [sheet for sheet in scores.sheets if not sheet.returned]
    rows = [
        Row(f"{len(whole)} answered in full", _return_cells(whole)),
        *(Row(f"sheet {sheet.sheet:03d}, in part", _return_cells([sheet])) for sheet in partial),
        Row(f"{len(absent)} not returned", _return_cells(absent)),
        Row(f"all {len(scores.sheets)}", _return_cells(scores.sheets), "apart"),
    ]
    return Table(
        "study-sheets",
        f"What came back: {_returned(scores)} of {len(scores.sheets)} sheets",
        "Sheets",
        (Heading("Answered"), Heading("Asked")),
        tuple(rows),
    )


def _return_cells(sheets: Sequence[SheetReturn]) -> tuple[Cell, Cell]:
    answered, asked = (sum(n) for n in ([s.answered for s in sheets], [s.asked for s in sheets]))
    return Cell(str(answered), value=float(answered)), Cell(str(asked), value=float(asked))


def _returned(scores: StudyScores) -> int:
    return sum(sheet.returned for sheet in scores.sheets)
