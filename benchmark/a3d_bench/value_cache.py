"""Values that were computed once: by the pictures' bytes and the metric, never by names or places.

One SQLite file in the user's cache. A value is committed as soon as the view it belongs to is done,
so that whatever stops a run costs at most the views in hand; and a value is found again however a
run is split, renamed or moved.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from a3d_bench.errors import BenchError
from any3davatar.cache import cache_root

_SCHEMA = "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, value REAL) WITHOUT ROWID"
_WAIT_SECONDS = 60.0
_MOST_PARAMETERS = 500  # of one statement; SQLite's own limit may be 999


def value_key(
    metric_digest: str, truth_sha256: str, background: Sequence[float], prediction_sha256: str
) -> str:
    """Return the key of a value: a digest of all that decides it.

    Args:
        metric_digest: `MetricSpec.digest`, and what else its last digits depend on.
        truth_sha256: of the prepared true picture's file.
        background: sRGB colour that the true picture is laid over.
        prediction_sha256: of the predicted picture's file.
    """
    parts = [metric_digest, truth_sha256, list(background), prediction_sha256]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class ValueCache:
    """A file of values; use it as a context.

    Several processes may have it open at once. A value of None says that no face was seen in the
    prediction, which is a result too.

    Args:
        path: of the file, made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._damage_told():
            self._database = sqlite3.connect(path, timeout=_WAIT_SECONDS)
            # Ahead-written logs need no flush at every commit; where a file system has none, SQLite
            # keeps to its own way.
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_SCHEMA)
            self._database.commit()

    @staticmethod
    def default_path() -> Path:
        """Return where the user's cache has it."""
        return cache_root() / "values.sqlite"

    def __enter__(self) -> "ValueCache":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def found(self, keys: Iterable[str]) -> dict[str, float | None]:
        """Return the values of those keys that have one."""
        wanted = list(keys)
        values: dict[str, float | None] = {}
        with self._damage_told():
            for start in range(0, len(wanted), _MOST_PARAMETERS):
                some = wanted[start : start + _MOST_PARAMETERS]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM scores WHERE key IN ({marks})"
                values.update(self._database.execute(query, some).fetchall())
        return values

    def keep(self, values: Mapping[str, float | None]) -> None:
        """Keep values; they are there when this returns, whatever happens to the process."""
        with self._damage_told(), self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?)", list(values.items())
            )

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise BenchError(
                f"{self._path}, where computed values are kept, can't be used: {error}. If nothing "
                "else runs, delete it: values are computed again"
            ) from error
