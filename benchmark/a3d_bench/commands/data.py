"""What ``a3d-bench data`` does: show, verify and import captures."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from a3d_bench.captures import Found, Problem, open_captures, read_folder
from a3d_bench.captures.drawing import draw_cameras
from a3d_bench.captures.imported import import_captures
from a3d_bench.errors import BenchError
from a3d_bench.protocol import load_protocol
from a3d_bench.types import Capture
from any3davatar.core import InvalidInput
from any3davatar.core.rigs import angles_of
from any3davatar.io import FormatError

_NERSEMBLE = "nersemble"
_SHOWN = 20


@dataclass(frozen=True)
class Request:
    """What data is meant.

    Attributes:
        folder: where it is.
        protocol: name of the protocol that chooses; None for everything that is there.
        frame: world of camera files; None to guess.
    """

    folder: Path
    protocol: str | None
    frame: str | None

    def read(self) -> tuple[Found, str | None]:
        """Return what is there, and in what way the protocol's set is partial."""
        if self.protocol is None:
            # NeRSemble's frames are numbered, not named: somebody has to say which are meant.
            return read_folder(self.folder, load_protocol(_NERSEMBLE).data, self.frame), None
        protocol = load_protocol(self.protocol)
        chosen = open_captures(protocol, self.folder, frame=self.frame)
        found = Found(chosen.kind, chosen.recognised, chosen.captures, chosen.problems)
        return found, chosen.partial


def show(
    request: Request, picture: Path, capture_id: str | None, *, as_json: bool
) -> tuple[Problem, ...]:
    """Print what a folder holds, draw a capture's cameras, and return the problems.

    Raises:
        BenchError: nothing is recognised, or no capture has the id.
    """
    found, partial = request.read()
    drawn = _chosen(found, capture_id)
    if drawn is not None:
        draw_cameras(drawn, picture)
    if as_json:
        typer.echo(json.dumps(_as_json(found, partial, picture if drawn else None), indent=1))
        return found.problems
    typer.echo(found.recognised)
    if partial is not None:
        typer.secho(f"partial: {partial}", fg="yellow")
    for capture in found.captures[:_SHOWN]:
        typer.echo(f"  {_line(capture)}")
    _tell_more(len(found.captures), "captures")
    if drawn is not None:
        for key, text in drawn.notes.items():
            typer.echo(f"{key}: {text}")
        typer.echo(f"cameras of {drawn.id}: {picture}")
    _tell_problems(found.problems)
    return found.problems


def verify(request: Request, *, as_json: bool) -> tuple[Problem, ...]:
    """Read every picture of a folder, print what is wrong, and return it."""
    found, partial = request.read()
    problems = found.problems + tuple(
        problem for capture in found.captures for problem in _unreadable(capture)
    )
    views = sum(len(capture) for capture in found.captures)
    if as_json:
        content = {
            "recognised": found.recognised,
            "partial": partial,
            "views_read": views,
            "problems": [asdict(problem) for problem in problems],
        }
        typer.echo(json.dumps(content, indent=1))
    else:
        typer.echo(f"{found.recognised}; {views} pictures read")
        _tell_problems(problems)
    return problems


def import_data(request: Request, out: Path) -> tuple[Problem, ...]:
    """Write what a folder holds as normalised captures, and return what was left out."""
    found, _ = request.read()
    if not found.captures:
        _tell_problems(found.problems)
        raise BenchError(f"{request.folder}: holds nothing that can be imported")
    left_out = import_captures(
        found.captures, out, on_capture=lambda name: typer.echo(f"read {name}")
    )
    problems = found.problems + tuple(left_out)
    typer.echo(f"{len(found.captures) - len(left_out)} captures in {out}")
    _tell_problems(problems)
    return problems


def _unreadable(capture: Capture) -> list[Problem]:
    problems = []
    for name, view in zip(capture.view_names, capture.views, strict=True):
        try:
            view.read()
        except (BenchError, FormatError, InvalidInput, OSError) as error:
            problems.append(Problem(capture.id, f"view {name}: {error}"))
    return problems


def _chosen(found: Found, capture_id: str | None) -> Capture | None:
    if capture_id is None:
        return found.captures[0] if found.captures else None
    for capture in found.captures:
        if capture.id == capture_id:
            return capture
    raise BenchError(
        f"no capture is named {capture_id[:80]!r}; got "
        f"{', '.join(capture.id for capture in found.captures[:5]) or 'none'}"
    )


def _line(capture: Capture) -> str:
    azimuths, elevations = angles_of(capture.cameras.centers)
    return (
        f"{capture.id}: {len(capture)} views of {capture.cameras.width} x {capture.cameras.height},"
        f" azimuths {float(azimuths.min()):.0f} to {float(azimuths.max()):.0f}, elevations "
        f"{float(elevations.min()):.0f} to {float(elevations.max()):.0f}, input "
        f"{capture.view_names[capture.input_view]}"
    )


def _as_json(found: Found, partial: str | None, picture: Path | None) -> dict[str, object]:
    return {
        "kind": found.kind,
        "recognised": found.recognised,
        "partial": partial,
        "cameras_drawn": None if picture is None else str(picture),
        "captures": [
            {
                "id": capture.id,
                "subject": capture.subject,
                "views": len(capture),
                "input_view": capture.view_names[capture.input_view],
                "strata": dict(capture.strata),
                "notes": dict(capture.notes),
            }
            for capture in found.captures
        ],
        "problems": [asdict(problem) for problem in found.problems],
    }


def _tell_problems(problems: Sequence[Problem]) -> None:
    for problem in problems[:_SHOWN]:
        typer.secho(f"{problem.subject}: {problem.reason}", fg="red", err=True)
    _tell_more(len(problems), "problems")


def _tell_more(count: int, what: str) -> None:
    if count > _SHOWN:
        typer.echo(f"  ... and {count - _SHOWN} more {what} (--json lists all)")
