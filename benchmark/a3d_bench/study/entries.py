"""What sheets show of runs: the portrait, and each method from fixed directions.

A view is shown as reports show it: after the protocol's main alignment where there is such a file.
It has to be a readable picture of the protocol's size; anything else is no picture, and nothing
stands in for it.
"""

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from a3d_bench.aggregate import Entrant
from a3d_bench.errors import BenchError
from a3d_bench.report.pictures import LOSSLESS_UP_TO_PX, RGB, read_over
from a3d_bench.report.results import Results, data_digest, merged, read_results
from a3d_bench.store import CaptureRow, RunFolder
from a3d_bench.study.key import DataSet, Direction, RunMark, ShownPicture, StudiedMethod

SHEET_PX = 512
"""Longest side of a picture on a sheet."""
FARTHEST_DEG = 30.0
"""A view stands for a direction up to this azimuth away from it."""
_DIRECTIONS = {"front": 0.0, "left": 90.0, "back": 180.0, "right": -90.0}
_QUALITY = 92


@dataclass(frozen=True)
class StudyData:
    """One data set of a study, with its pictures.

    Attributes:
        results: the runs'.
        entrants: that are shown.
        directions: that are asked for.
        described: for the key.
        uris: by capture, method (empty for the portrait) and title of the direction: the picture as
            a ``data:`` URI; empty where there is none.
        lacking: by direction, how many captures have no view there.
    """

    results: Results
    entrants: tuple[Entrant, ...]
    directions: tuple[Direction, ...]
    described: DataSet
    uris: Mapping[tuple[str, str, str], str]
    lacking: Mapping[str, int]

    @property
    def absent(self) -> int:
        """How many views of methods have no picture that can be shown."""
        return sum(not uri for uri in self.uris.values())

    def shown(self, capture: str) -> tuple[str, ...]:
        """Return the titles of the directions that a capture is shown from."""
        some = self.entrants[0].id
        return tuple(
            direction.title
            for direction in self.directions
            if (capture, some, direction.title) in self.uris
        )


def parse_directions(text: str) -> tuple[Direction, ...]:
    """Return directions from ``front,left,back,right`` or degrees of azimuth, by commas.

    Raises:
        BenchError: one is neither, or stands twice.
    """
    made: list[Direction] = []
    for word in (part.strip() for part in text.split(",")):
        try:
            azimuth = _DIRECTIONS[word] if word in _DIRECTIONS else float(word)
        except ValueError:
            azimuth = float("nan")
        if not -360 <= azimuth <= 360:
            raise BenchError(
                f"--views: got {word!r}, expected {', '.join(_DIRECTIONS)}, or an azimuth in "
                "degrees (0 sees the face, positive toward the subject's left)"
            )
        azimuth = (azimuth + 180) % 360 - 180
        made.append(Direction(title=_title(azimuth), azimuth_deg=azimuth))
    if len({direction.title for direction in made}) < len(made):
        raise BenchError(f"--views: got {text!r}, expected every direction once")
    return tuple(made)


def study_data(
    runs: Sequence[RunFolder], directions: Sequence[Direction], methods: Sequence[str] = ()
) -> list[StudyData]:
    """Return the data sets of runs: those that may stand in one table are one.

    Args:
        runs: finished ones.
        directions: that every entry is shown from.
        methods: ids of those that are shown; empty means all that are not shown the truth.

    Raises:
        BenchError: a run is damaged or not scored, or a method is in none of them.
        NotComparable: two runs on the same data used other networks.
    """
    groups: dict[tuple[str, str], list[Results]] = {}
    for run in runs:
        results = read_results(run)
        key = (results.protocol.digest, data_digest(results.captures))
        groups.setdefault(key, []).append(results)
    together = [merged(group) for group in groups.values()]
    known = {entrant.id: None for results in together for entrant in results.entrants}
    unknown = [method for method in methods if method not in known]
    if unknown:
        raise BenchError(
            f"--method: got {unknown[0]!r}, expected methods of these runs: {', '.join(known)}"
        )
    return [_data(results, directions, methods) for results in together]


def _data(results: Results, directions: Sequence[Direction], methods: Sequence[str]) -> StudyData:
    entrants = tuple(
        entrant
        for entrant in results.entrants
        if (entrant.id in methods if methods else not entrant.sees_truth)
    )
    if not entrants:
        raise BenchError(
            f"{results.label}: none of its methods is shown, expected at least one; choose with "
            f"--method from {', '.join(entrant.id for entrant in results.entrants)}"
        )
    uris: dict[tuple[str, str, str], str] = {}
    pictures: list[ShownPicture] = []
    lacking: dict[str, int] = {}
    for capture in results.captures:
        uri, picture = _portrait(results, capture)
        uris[capture.id, "", ""] = uri
        pictures.append(picture)
        views = _views(capture, directions)
        if not views:
            raise BenchError(
                f"{results.label}: no view of {capture.id} lies within {FARTHEST_DEG:g} degrees of "
                "a direction of --views; ask for others"
            )
        for direction in directions:
            if direction.title not in views:
                lacking[direction.title] = lacking.get(direction.title, 0) + 1
        for entrant in entrants:
            for title, view in views.items():
                uri, picture = _predicted(results, entrant, capture, title, view)
                uris[capture.id, entrant.id, title] = uri
                pictures.append(picture)
    return StudyData(
        results, entrants, tuple(directions), _described(results, entrants, pictures), uris, lacking
    )


def _described(
    results: Results, entrants: Sequence[Entrant], pictures: Iterable[ShownPicture]
) -> DataSet:
    return DataSet(
        label=results.label,
        kind=results.protocol.data.kind,
        remarks=results.remarks,
        protocol_digest=results.protocol.digest,
        data_sha256=data_digest(results.captures),
        runs=tuple(
            RunMark(name=run.path.resolve().name, run_json_sha256=_sha256(run.path / "run.json"))
            for run in results.runs
        ),
        methods=tuple(
            StudiedMethod(
                id=entrant.id,
                title=entrant.title,
                sees_truth=entrant.sees_truth,
                paper_name=entrant.paper_name,
            )
            for entrant in entrants
        ),
        pictures=tuple(pictures),
    )


def _views(capture: CaptureRow, directions: Sequence[Direction]) -> dict[str, int]:
    """Return the view that stands for each direction; none does for two, or from far away."""
    found: dict[str, int] = {}
    for direction in directions:
        view = capture.nearest_view(direction.azimuth_deg)
        near = _turn(capture.views[view].azimuth_deg, direction.azimuth_deg) <= FARTHEST_DEG
        if near and view not in found.values():
            found[direction.title] = view
    return found


def _portrait(results: Results, capture: CaptureRow) -> tuple[str, ShownPicture]:
    path = results.runs[0].truth_path(capture.slug, capture.input_view)
    picture = read_over(path, results.protocol.picture.background)
    if picture is None:
        raise BenchError(
            f"{path}: no portrait that can be read, expected the one that methods were given; "
            "`a3d-bench verify` tells what else the run lacks"
        )
    return _data_uri(picture), ShownPicture(
        capture=capture.id,
        method="",
        direction="",
        view=capture.input_view,
        alignment="none",
        sha256=_sha256(path),
    )


def _predicted(
    results: Results, entrant: Entrant, capture: CaptureRow, title: str, view: int
) -> tuple[str, ShownPicture]:
    path, alignment = results.shown_view(entrant.id, capture, view)
    picture = read_over(path, results.protocol.picture.background)
    size_px = results.protocol.picture.size_px
    shown = picture is not None and picture.shape[:2] == (size_px, size_px)
    return _data_uri(picture) if picture is not None and shown else "", ShownPicture(
        capture=capture.id,
        method=entrant.id,
        direction=title,
        view=view,
        alignment=alignment,
        sha256=_sha256(path) if shown else "",
    )


def _data_uri(picture: RGB) -> str:
    """Return a picture as WebP in a URI: without loss where it is small."""
    image = Image.fromarray(picture)
    lossless = max(image.size) <= LOSSLESS_UP_TO_PX
    image.thumbnail((SHEET_PX, SHEET_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=lossless, quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def _title(azimuth_deg: float) -> str:
    for name, azimuth in _DIRECTIONS.items():
        if _turn(azimuth, azimuth_deg) == 0:
            return f"{name} side" if name in ("left", "right") else name
    return f"{abs(azimuth_deg):g}° to the {'left' if azimuth_deg > 0 else 'right'}"


def _turn(one_deg: float, other_deg: float) -> float:
    return abs((one_deg - other_deg + 180) % 360 - 180)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
