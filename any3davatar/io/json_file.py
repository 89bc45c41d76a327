"""JSON files from strangers: bounded, strict, and read with the path to each value at hand."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from any3davatar.io.errors import FormatError
from any3davatar.io.opening import read_whole

FILE_LIMIT_BYTES = 1 << 26


@dataclass(frozen=True)
class JsonObject:
    """One ``{...}`` of a file, which knows where it stands in it.

    Attributes:
        path: the file.
        place: where in the file, for messages: ``frames[3].``, or nothing at the top.
        values: the members.
    """

    path: str | os.PathLike[str]
    place: str
    values: Mapping[str, Any]

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raise `FormatError`: the member is absent, or not what was expected."""
        got = repr(self.values[key])[:80] if key in self.values else "nothing"
        raise FormatError(
            f"{self.path}: {self.place}{key}: got {got}, expected {expected}; correct the file or "
            "check that it is of this kind"
        )

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.values.get(key)
        if not _is_number(value):
            self.refuse(key, "a finite number")
        return float(value)

    def pixels(self, key: str) -> int:
        """Return a whole number of pixels, at least 1 (some writers put ``512.0``)."""
        value = self.values.get(key)
        if not _is_number(value) or value != int(value) or not 1 <= value <= 1 << 20:
            self.refuse(key, "a whole number of pixels from 1 to 2^20")
        return int(value)

    def text(self, key: str) -> str:
        """Return a string that is not empty."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            self.refuse(key, "a text")
        return value

    def matrix(self, key: str, rows: int, columns: int) -> list[list[float]]:
        """Return a matrix, stored row by row."""
        value = self.values.get(key)
        if (
            not isinstance(value, list)
            or len(value) != rows
            or not all(isinstance(row, list) and len(row) == columns for row in value)
            or not all(_is_number(number) for row in value for number in row)
        ):
            self.refuse(key, f"{rows} rows of {columns} finite numbers")
        return [[float(number) for number in row] for row in value]

    def objects(self, key: str) -> "list[JsonObject]":
        """Return a list of objects with at least one member."""
        value = self.values.get(key)
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(member, dict) for member in value)
        ):
            self.refuse(key, "a list of at least one object")
        return [
            JsonObject(self.path, f"{self.place}{key}[{index}].", member)
            for index, member in enumerate(value)
        ]


def read_json_object(path: str | os.PathLike[str]) -> JsonObject:
    """Read a file that holds one JSON object.

    Raises:
        FormatError: not UTF-8, not JSON, larger than 64 MiB, a key twice in one object, or
            something other than an object at the top.
        OSError: the file can't be opened.
    """
    content = read_whole(path, FILE_LIMIT_BYTES)
    try:
        value = json.loads(content, object_pairs_hook=_object_without_repeats)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"{path}: not readable as JSON ({error}); the file is damaged or of another kind"
        ) from error
    if not isinstance(value, dict):
        raise FormatError(f"{path}: got a {type(value).__name__} at the top, expected an object")
    return JsonObject(path, "", value)


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same key more than once")
    return members


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Whole numbers in JSON have no size limit; those that no float holds are not finite here. NaN
    # is not at most anything.
    return abs(value) <= 1e300
