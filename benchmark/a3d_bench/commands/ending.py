"""How every command of `a3d-bench` ends: one line and an exit code, never a traceback.

0 all is well; 1 more failures than allowed; 2 the request or a file can't be used; 3 things that
must not be compared; 4 a run is not what it says; 130 interrupted.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what a stranger's request or file may raise into a line on stderr and an exit code."""
    from a3d_bench.errors import BenchError
    from any3davatar.core import InvalidInput
    from any3davatar.io import FormatError
    from any3davatar.registry_files import RegistryFileUnavailable

    try:
        yield
    except BenchError as error:
        _tell(error)
        raise typer.Exit(error.exit_code) from error
    except (FormatError, InvalidInput, OSError, RegistryFileUnavailable) as error:
        _tell(error)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.secho("stopped; the same command goes on", fg="yellow", err=True)
        raise typer.Exit(130) from error


def _tell(error: BaseException) -> None:
    typer.secho(f"error: {error}", fg="red", err=True)
