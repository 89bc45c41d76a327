"""The folder of a run: the files through which stages talk, and nothing else.

::

    run.json                     provenance, written before any work
    protocol.json                the protocol, canonical
    captures.json                what is scored: subjects, views, angles, digests of the truth
    cameras/{capture}.json       the protocol's cameras
    truth/{capture}/000.png      the true pictures as the protocol wants them
    predictions/{method}/{capture}/prediction.json, views/000.png, gaussians.ply, log.txt
    validation/{method}/{capture}.json
    landmarks/{capture}-{digest}.npy
    aligned/{alignment}/{method}/{capture}/alignment.json, views/000.png
    scores.parquet, scores.jsonl, timing.jsonl, failures.jsonl
    report/

Every file appears whole or not at all. ``{method}`` and ``{capture}`` are `names.slug` of the id.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from a3d_bench.errors import BenchError
from a3d_bench.names import slug
from a3d_bench.protocol import Protocol
from a3d_bench.types import Alignment, Prediction, Score, Seconds, Stratum
from any3davatar.core import Cameras
from any3davatar.io import atomic_path, read_cameras

SCHEMA = 1


@dataclass(frozen=True)
class ViewRow:
    """A view that is scored.

    Attributes:
        name: of the view in its data set.
        azimuth_deg: of its camera.
        elevation_deg: of its camera.
        stratum: front, side or back.
        truth_sha256: digest of the true picture's source.
    """

    name: str
    azimuth_deg: float
    elevation_deg: float
    stratum: Stratum
    truth_sha256: str


@dataclass(frozen=True)
class CaptureRow:
    """A capture as a run knows it, without its pictures.

    Attributes:
        id: of the capture.
        slug: its name in the run's folders.
        subject: whose head it is.
        dataset: where it comes from.
        input_view: index of the view that methods are given.
        strata: what reports may split by.
        notes: what was decided while reading.
        views: by view index.
    """

    id: str
    slug: str
    subject: str
    dataset: str
    input_view: int
    strata: Mapping[str, str]
    notes: Mapping[str, str]
    views: tuple[ViewRow, ...]

    def nearest_view(self, azimuth_deg: float) -> int:
        """Return the index of the view that stands nearest to an azimuth, preferring level ones."""

        def away(index: int) -> float:
            view = self.views[index]
            turn = abs((view.azimuth_deg - azimuth_deg + 180) % 360 - 180)
            return turn + abs(view.elevation_deg)

        return min(range(len(self.views)), key=away)


class RunFolder:
    """A run on disk.

    Attributes:
        path: its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def open(path: Path) -> "RunFolder":
        """Return an existing run.

        Raises:
            BenchError: there is none, or another version's.
        """
        run = RunFolder(path)
        if not (path / "run.json").is_file():
            raise BenchError(
                f"{path} is no run: it has no run.json; expected a folder that `a3d-bench run` made"
            )
        schema = run.read_run().get("schema")
        if schema != SCHEMA:
            raise BenchError(
                f"{path}/run.json has schema {schema!r}, expected {SCHEMA}; use the version of "
                "a3d-bench that made it"
            )
        return run

    def read_run(self) -> dict[str, Any]:
        """Return the provenance."""
        return _read_json(self.path / "run.json", dict)

    def write_run(self, provenance: Mapping[str, Any]) -> None:
        """Write the provenance; its schema is added."""
        self._write_json("run.json", {"schema": SCHEMA, **provenance})

    def protocol(self) -> Protocol:
        """Return the protocol that the run was made under."""
        return Protocol.model_validate(_read_json(self.path / "protocol.json", dict))

    def write_protocol(self, protocol: Protocol) -> None:
        """Write the protocol."""
        self._write_json("protocol.json", protocol.model_dump(mode="json"))

    def captures(self) -> list[CaptureRow]:
        """Return what is scored, in order."""
        rows = _read_json(self.path / "captures.json", list)
        try:
            return [_capture_row(row) for row in rows]
        except (KeyError, TypeError) as error:
            raise BenchError(f"{self.path}/captures.json: a field is missing: {error}") from error

    def write_captures(self, rows: Iterable[CaptureRow]) -> None:
        """Write what is scored."""
        self._write_json("captures.json", [asdict(row) for row in rows])

    def cameras(self, capture_slug: str) -> Cameras:
        """Return the protocol's (V,) cameras of a capture."""
        return read_cameras(self.cameras_path(capture_slug)).cameras

    def cameras_path(self, capture_slug: str) -> Path:
        """Return where the cameras of a capture are."""
        return self.path / "cameras" / f"{slug_of(capture_slug)}.json"

    def truth_path(self, capture_slug: str, view: int) -> Path:
        """Return where a true picture is: 8-bit RGBA, straight alpha."""
        return self.path / "truth" / slug_of(capture_slug) / f"{view:03d}.png"

    def capture_folder(self, kind: str, method: str, capture_slug: str) -> Path:
        """Return the folder of a method's capture under ``predictions`` or ``validation``."""
        return self.path / kind / slug(method) / slug_of(capture_slug)

    def aligned_folder(self, alignment: Alignment, method: str, capture_slug: str) -> Path:
        """Return where aligned views are; for ``none`` the predictions themselves."""
        if alignment == "none":
            return self.capture_folder("predictions", method, capture_slug)
        return self.path / "aligned" / alignment / slug(method) / slug_of(capture_slug)

    def view_path(
        self, method: str, capture_slug: str, view: int, alignment: Alignment = "none"
    ) -> Path:
        """Return where a predicted view is: 8-bit RGB over the protocol's background."""
        folder = self.aligned_folder(alignment, method, capture_slug)
        return folder / "views" / f"{view:03d}.png"

    def prediction(self, method: str, capture_slug: str) -> Prediction | None:
        """Return what a method left for a capture, or None where it was not asked yet."""
        path = self.capture_folder("predictions", method, capture_slug) / "prediction.json"
        if not path.is_file():
            return None
        values = _read_json(path, dict)
        try:
            return Prediction(**{**values, "seconds": Seconds(**values["seconds"])})
        except (KeyError, TypeError) as error:
            raise BenchError(
                f"{path}: not a prediction of this version ({error}); delete its folder and run "
                "again"
            ) from error

    def write_prediction(self, capture_slug: str, prediction: Prediction) -> None:
        """Write what a method left: last of its files, so that what it lists is there."""
        folder = self.capture_folder("predictions", prediction.method, capture_slug)
        write_json(folder / "prediction.json", asdict(prediction))

    def methods(self) -> list[str]:
        """Return the methods of the run, in the order they were asked for."""
        return list(self.read_run().get("methods", {}))

    def write_scores(self, scores: Iterable[Score]) -> None:
        """Write the score table, as Parquet and as lines of JSON."""
        import pandas as pd

        rows = [asdict(score) for score in scores]
        frame = pd.DataFrame(rows, columns=[field.name for field in fields(Score)])
        for name in ("value", "seconds"):
            frame[name] = frame[name].astype("float64")
        for name in ("peak_rss_bytes", "peak_gpu_bytes"):
            frame[name] = frame[name].astype("Int64")
        with atomic_path(self.path / "scores.parquet") as temporary:
            frame.to_parquet(temporary, index=False)
        self._write_lines("scores.jsonl", rows)

    def scores(self) -> Any:
        """Return the score table, a `pandas.DataFrame`; its columns are the fields of `Score`."""
        import pandas as pd

        path = self.path / "scores.parquet"
        if not path.is_file():
            raise BenchError(
                f"{self.path} has no scores yet; `a3d-bench run` with the same arguments goes on"
            )
        return pd.read_parquet(path)

    def write_timing(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a line a prediction: what it took."""
        self._write_lines("timing.jsonl", rows)

    def write_failures(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a line for everything that is not scored, with the reason."""
        self._write_lines("failures.jsonl", rows)

    def _write_json(self, name: str, value: Any) -> None:
        write_json(self.path / name, value)

    def _write_lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        lines = "".join(json.dumps(row, allow_nan=False, sort_keys=True) + "\n" for row in rows)
        with atomic_path(self.path / name) as temporary:
            temporary.write_text(lines, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON in place, whole or not at all; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def slug_of(capture_slug: str) -> str:
    """Return a slug that was read from a file, or raise `BenchError` if it is none."""
    name = capture_slug
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise BenchError(f"got the folder name {name!r}, expected one made by a3d-bench")
    return name


def _capture_row(row: Mapping[str, Any]) -> CaptureRow:
    views = tuple(ViewRow(**view) for view in row["views"])
    return CaptureRow(**{**row, "views": views, "slug": slug_of(row["slug"])})


def _read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BenchError(f"{path} is missing; `a3d-bench run` makes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{path} is damaged: {error}") from error
    if not isinstance(value, kind):
        raise BenchError(f"{path}: got {type(value).__name__}, expected {kind.__name__}")
    return value
