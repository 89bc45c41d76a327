"""A new method's first files: an adapter that runs, its card, an example job, and what to do next.

The example is a method already: the portrait on the front of an ellipsoid. It passes the
conformance kit, so that the first thing that breaks is the newcomer's own change.
"""

from pathlib import Path

from a3d_bench.errors import BenchError
from a3d_bench.methods.card import card_of
from a3d_bench.methods.conformance import MemoryView, probe_capture, probe_protocol, tinted
from a3d_bench.methods.job import write_job

_TEMPLATES = Path(__file__).parent / "scaffold_files"
RUNNERS = ("python", "command")


def write_scaffold(id_: str, folder: Path, runner: str) -> list[Path]:
    """Write the files of a new method into a new folder; return them.

    Args:
        id_: of the method.
        folder: must not exist, or be empty.
        runner: ``python`` or ``command``.

    Raises:
        BenchError: the folder is not empty, or the id or the runner is none.
    """
    if runner not in RUNNERS:
        raise BenchError(f"got the runner {runner!r}, expected one of {', '.join(RUNNERS)}")
    # The same check that the card will meet, before anything is written.
    card_of(
        {
            "id": id_, "title": id_, "output": "views",
            "runner": {"kind": "python", "entry": "adapter.py:Example"},
        },
        f"the id {id_!r}",
    )  # fmt: skip
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BenchError(f"{folder} is there and not empty; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "python": {"adapter.py": "adapter.py.txt", "card.toml": "python.toml.txt"},
        "command": {
            "adapter.py": "command_adapter.py.txt",
            "card.toml": "command.toml.txt",
            "program.py": "program.py.txt",
        },
    }[runner]
    for name, template in {**names, "README.md": "README.md.txt"}.items():
        text = (_TEMPLATES / template).read_text(encoding="utf-8").replace("@ID@", id_)
        (folder / name).write_text(text, encoding="utf-8")
    _example_job(folder / "example_job")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _example_job(folder: Path) -> None:
    """Write the job that the conformance kit hands out first."""
    from dataclasses import replace

    from a3d_bench.pictures import portrait_of, protocol_cameras

    capture, protocol = probe_capture(), probe_protocol()
    views = tuple(MemoryView(tinted(view.read())) for view in capture.views)
    capture = replace(capture, views=views)
    write_job(
        folder,
        capture=capture,
        portrait=portrait_of(capture, protocol),
        cameras=protocol_cameras(capture, protocol.picture),
        background=protocol.picture.background,
        seed=protocol.seed,
        truth=None,
    )
    (folder / "out").rmdir()
