"""Normalised captures: what ``a3d-bench data import`` writes, and how it is read again.

::

    {ROOT}/CAPTURES.json            the list, with the SHA-256 of every file
    {ROOT}/{capture}/cameras.json   canonical world (`any3davatar.io.write_cameras`)
    {ROOT}/{capture}/000.png ...    RGBA, straight alpha, 8 bits

Alpha, colour correction and frame are settled once, while importing, and stay noted.
"""

import json
from collections.abc import Callable
from pathlib import Path

from a3d_bench.captures.found import Found, Problem
from a3d_bench.captures.sources import RecordedPicture, checked_inside, file_sha256
from a3d_bench.errors import BenchError
from a3d_bench.names import slug
from a3d_bench.types import Capture
from any3davatar.core import InvalidInput
from any3davatar.io import FormatError, atomic_path, read_cameras, write_cameras, write_png
from any3davatar.io.json_file import JsonObject, read_json_object

LIST = "CAPTURES.json"
_CAMERAS = "cameras.json"
_FORMAT = "a3d_bench.captures"
_VERSION = 1


def is_imported(root: Path) -> bool:
    """Return whether a folder holds normalised captures."""
    return (root / LIST).is_file()


def import_captures(
    captures: tuple[Capture, ...],
    out: Path,
    *,
    on_capture: Callable[[str], None] | None = None,
) -> list[Problem]:
    """Write captures into a new folder; one that can't be read is left out and returned.

    Args:
        captures: what a reader found.
        out: a folder that does not exist, or is empty.
        on_capture: called with the id of each capture that is done.

    Raises:
        BenchError: the folder holds something already.
        OSError: it can't be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BenchError(f"{out}: is there and not an empty folder; choose another name")
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    problems = []
    for capture in captures:
        try:
            entries.append(_write_capture(capture, out))
        except (BenchError, FormatError, InvalidInput) as error:
            problems.append(Problem(capture.id, str(error)))
        if on_capture is not None:
            on_capture(capture.id)
    with atomic_path(out / LIST) as temporary:
        content = {"format": _FORMAT, "version": _VERSION, "captures": entries}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return problems


def read_imported(root: Path) -> Found:
    """Read normalised captures.

    Raises:
        FormatError: the list is damaged, of another kind or version.
    """
    top = read_json_object(root / LIST)
    if top.values.get("format") != _FORMAT or top.values.get("version") != _VERSION:
        top.refuse("format", f"{_FORMAT!r}, version {_VERSION}")
    captures: list[Capture] = []
    problems: list[Problem] = []
    for entry in top.objects("captures"):
        try:
            captures.append(_read_capture(root, entry))
        except (BenchError, FormatError, InvalidInput, OSError) as error:
            problems.append(Problem(str(entry.values.get("id", entry.place))[:200], str(error)))
    return Found(
        "imported",
        f"imported captures in {root}: {len(captures)}",
        tuple(sorted(captures, key=lambda capture: capture.id)),
        tuple(problems),
    )


def _write_capture(capture: Capture, out: Path) -> dict[str, object]:
    folder = out / slug(capture.id)
    folder.mkdir()
    names = [f"{v:03d}.png" for v in range(len(capture))]
    for source, name in zip(capture.views, names, strict=True):
        view = source.read()
        write_png(folder / name, view.rgb * (view.alpha > 0), view.alpha)
    write_cameras(folder / _CAMERAS, capture.cameras, capture.view_names, names)
    return {
        "id": capture.id,
        "folder": folder.name,
        "subject": capture.subject,
        "dataset": capture.dataset,
        "input_view": capture.view_names[capture.input_view],
        "strata": dict(capture.strata),
        "notes": dict(capture.notes),
        "files": {name: file_sha256(folder / name) for name in (_CAMERAS, *names)},
    }


def _read_capture(root: Path, entry: JsonObject) -> Capture:
    name = entry.text("folder")
    if slug(name) != name and slug(entry.text("id")) != name:
        entry.refuse("folder", "the name of a folder in the list's own")
    folder = root / name
    files = _texts(entry, "files")
    path = checked_inside(root, folder / _CAMERAS)
    if file_sha256(path) != files.get(_CAMERAS):
        raise FormatError(f"{path}: its SHA-256 is not the recorded one; import the data again")
    read = read_cameras(path)
    input_view = entry.text("input_view")
    if input_view not in read.names:
        entry.refuse("input_view", f"the name of a view in {path}")
    pictures = []
    for picture in read.image_paths:
        digest = None if picture is None else files.get(picture.name)
        if picture is None or picture.parent != folder or digest is None:
            raise FormatError(f"{path}: a view's picture is not in {LIST}; import the data again")
        width, height = read.cameras.width, read.cameras.height
        pictures.append(RecordedPicture(checked_inside(root, picture), digest, width, height))
    return Capture(
        id=entry.text("id"),
        subject=entry.text("subject"),
        dataset=entry.text("dataset"),
        input_view=read.names.index(input_view),
        cameras=read.cameras,
        views=tuple(pictures),
        view_names=read.names,
        strata=_texts(entry, "strata"),
        notes=_texts(entry, "notes"),
    )


def _texts(entry: JsonObject, key: str) -> dict[str, str]:
    value = entry.values.get(key)
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        entry.refuse(key, "an object of texts")
    return dict(value)
