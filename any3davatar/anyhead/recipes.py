"""What a build needs to know of a subset: the `Recipe`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from any3davatar.anyhead.records import HeadRecord


@runtime_checkable
class Recipe(Protocol):
    """Turns a seed into a head's folder. Frozen, and fit for sending to another process."""

    @property
    def subset(self) -> str:
        """Name of the subset's folder."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return everything that decides the bytes, the seeds excepted, as JSON."""
        ...

    def readme(self) -> str:
        """Return the text of the subset's README.md."""
        ...

    def head_id(self, seed: int) -> str:
        """Return the id of a seed's head."""
        ...

    def build(self, seed: int, folder: Path) -> HeadRecord:
        """Write the groups of a head into an empty folder and return its record.

        Raises:
            Rejected: the head fails its quality control.
            DataError: the request can't be met; the whole build stops.
            OSError: a file can't be written; the whole build stops.
        """
        ...
