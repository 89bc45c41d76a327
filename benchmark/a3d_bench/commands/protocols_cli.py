"""``a3d-bench protocols``: what is fixed, by name and digest. Nothing heavy is imported here."""

from typing import Annotated

import typer

app = typer.Typer(
    name="protocols",
    help="Versioned benchmark protocols: list them, show one with its digest.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_protocols(as_json: AsJson = False) -> None:
    """List the shipped protocols."""
    import json

    from a3d_bench.protocol import load_protocol, protocol_names

    protocols = [load_protocol(name) for name in protocol_names()]
    if as_json:
        rows = [
            {
                "name": protocol.name,
                "version": protocol.version,
                "digest": protocol.digest,
                "title": protocol.title,
            }
            for protocol in protocols
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    width = max(len(protocol.id) for protocol in protocols)
    for protocol in protocols:
        typer.echo(f"{protocol.id:<{width}}  {protocol.title}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of `protocols list`, or a .toml file.")],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value; changes the digest. May be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that a protocol fixes, and its digest; exit code 2 if it is not valid."""
    import json

    from a3d_bench.errors import BenchError
    from a3d_bench.protocol import load_protocol

    try:
        protocol = load_protocol(name, override or ())
    except BenchError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(error.exit_code) from error
    values = protocol.model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps({"digest": protocol.digest, "protocol": values}, indent=1))
        return
    typer.secho(protocol.id, bold=True)
    typer.echo(f"digest {protocol.digest}")
    for key, value in values.items():
        if isinstance(value, dict):
            typer.secho(f"[{key}]", bold=True)
            for name_of_value, inner in value.items():
                typer.echo(f"  {name_of_value:<22} {_shown(inner)}")
        else:
            typer.echo(f"{key:<24} {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(all)"
    return "none" if value is None else str(value)
