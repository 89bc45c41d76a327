"""The command line `a3d-bench`: parsing and exit codes only; nothing heavy is imported here."""

from typing import Annotated

import typer

from a3d_bench.commands import (
    data_cli,
    methods_cli,
    protocols_cli,
    report_cli,
    run_cli,
    study_cli,
    weights_cli,
)

app = typer.Typer(
    name="a3d-bench",
    help="Score single-image 3D head methods under versioned protocols.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"a3d-bench {version('any3davatar')}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what this machine has of what the harness can use; exit code 1 if any is broken."""
    import dataclasses
    import json

    from a3d_bench.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        marks = {"ok": ("ok", "green"), "absent": ("absent", "yellow"), "broken": ("BROKEN", "red")}
        for finding in findings:
            mark, color = marks[finding.status]
            typer.echo(
                typer.style(f"{mark:>8}", fg=color) + f"  {finding.name:<20} {finding.detail}"
            )
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(1)


app.command()(run_cli.run)
app.command()(run_cli.verify)
app.command()(run_cli.demo)
app.command()(report_cli.report)
app.command()(report_cli.compare)
app.command()(report_cli.leaderboard)
app.command()(report_cli.tables)
app.add_typer(methods_cli.app)
app.add_typer(data_cli.app)
app.add_typer(protocols_cli.app)
app.add_typer(study_cli.app, name="study")
app.add_typer(weights_cli.app, name="weights")


def main() -> None:
    """Run the command line."""
    app()
