"""The header of a PLY file: a few lines of text that say what the bytes after it mean.

Sources: Greg Turk's PLY description (Stanford, 1994) and the type names that came into use later
(``float32`` beside ``float``).
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from any3davatar.io.errors import FormatError

HEADER_LIMIT_BYTES = 1 << 20  # animation files name hundreds of elements; 1 MiB holds thousands
_END = re.compile(rb"\nend_header[ \t]*\r?\n")
_COUNT = re.compile(r"\d{1,18}")
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class PlyProperty:
    """One column: its name and number type, or None for a list of varying length."""

    name: str
    dtype: np.dtype | None


@dataclass(frozen=True)
class PlyElement:
    """One table: its name, its number of rows, its columns."""

    name: str
    count: int
    properties: tuple[PlyProperty, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in file order."""
        return tuple(prop.name for prop in self.properties)

    @property
    def has_lists(self) -> bool:
        """Whether a row's size varies."""
        return any(prop.dtype is None for prop in self.properties)

    @property
    def row_dtype(self) -> np.dtype:
        """The packed record type of one binary row."""
        return np.dtype([(prop.name, prop.dtype) for prop in self.properties])


@dataclass(frozen=True)
class PlyHeader:
    """A parsed header.

    Attributes:
        encoding: ``ascii``, ``binary_little_endian`` or ``binary_big_endian``.
        elements: the tables in file order.
        comments: comment and obj_info lines, without those words.
        data_offset: where the header ends, in bytes from the start of the file.
    """

    encoding: str
    elements: tuple[PlyElement, ...]
    comments: tuple[str, ...]
    data_offset: int

    def element(self, name: str) -> PlyElement | None:
        """Return the element of this name, or None."""
        return next((element for element in self.elements if element.name == name), None)


def read_ply_header(path: str | os.PathLike[str], file: BinaryIO) -> PlyHeader:
    """Read the header at the start of an open file; not more than 1 MiB is looked at.

    Raises:
        FormatError: not a PLY file, or a header that contradicts itself.
    """
    start = file.read(HEADER_LIMIT_BYTES)
    if re.match(rb"ply[ \t]*\r?\n", start) is None:
        raise FormatError(
            f"{path}: not a PLY file: it starts with {start[:8]!r}, expected the line 'ply'. "
            "Was it renamed from another format, or is it a Git LFS pointer?"
        )
    end = _END.search(start)
    if end is None:
        raise FormatError(
            f"{path}: no line 'end_header' in the first {len(start)} bytes; the file is "
            "truncated or damaged"
        )
    # Comments may be in any encoding; they must not stop a file from being read.
    text = start[: end.start()].decode("ascii", errors="backslashreplace")
    return _parse_header(path, text.splitlines()[1:], end.end())


def _parse_header(path: str | os.PathLike[str], lines: list[str], data_offset: int) -> PlyHeader:
    encoding: str | None = None
    comments: list[str] = []
    tables: dict[str, tuple[int, list[PlyProperty]]] = {}
    for line in lines:
        match line.split():
            case []:
                continue
            case ["comment" | "obj_info", *_]:
                comments.append(line.split(maxsplit=1)[1] if " " in line.strip() else "")
            case ["format", name, "1.0"] if name in _BYTE_ORDERS and encoding is None:
                encoding = name
            case ["element", name, count] if _COUNT.fullmatch(count) and encoding is not None:
                if name in tables:
                    raise FormatError(f"{path}: the header names element {name!r} twice")
                tables[name] = (int(count), [])
            case ["property", "list", _, _, name] if tables:
                next(reversed(tables.values()))[1].append(PlyProperty(name, None))
            case ["property", number, name] if number in _TYPES and tables and encoding:
                dtype = np.dtype(_BYTE_ORDERS[encoding] + _TYPES[number])
                next(reversed(tables.values()))[1].append(PlyProperty(name, dtype))
            case _:
                raise FormatError(
                    f"{path}: header line {line[:80]!r} makes no sense here; expected 'format "
                    "ascii|binary_little_endian|binary_big_endian 1.0' once, then 'element NAME "
                    "COUNT' and 'property TYPE NAME' lines. The file is damaged or not a PLY"
                )
    if encoding is None:
        raise FormatError(f"{path}: the header has no 'format' line; the file is damaged")
    for name, (_, properties) in tables.items():
        seen = Counter(prop.name for prop in properties)
        for repeated in (prop for prop, times in seen.items() if times > 1):
            raise FormatError(
                f"{path}: element {name!r} has the property {repeated!r} more than once; which one "
                "counts is unknown. Remove the others"
            )
    elements = tuple(
        PlyElement(name, count, tuple(properties)) for name, (count, properties) in tables.items()
    )
    return PlyHeader(encoding, elements, tuple(comments), data_offset)


def element_offset(
    path: str | os.PathLike[str], header: PlyHeader, wanted: PlyElement, file_size: int
) -> int:
    """Return where a binary file's element starts, after checking that all of them fit exactly.

    This comes before any allocation: a header may claim any number of rows.

    Raises:
        FormatError: the claimed sizes and the file's size differ, or can't be known because a
            list stands in the way.
    """
    offset, wanted_offset = header.data_offset, header.data_offset
    for element in header.elements:
        if element is wanted:
            wanted_offset = offset
        if element.count == 0:
            continue
        if element.has_lists:
            raise FormatError(
                f"{path}: element {element.name!r} holds lists, so the place of "
                f"{wanted.name!r} and the file's expected size are unknown; "
                "save the Gaussians alone"
            )
        offset += element.count * element.row_dtype.itemsize
    if offset != file_size:
        state = "truncated" if offset > file_size else "longer than its header says"
        tables = ", ".join(f"{element.count} x {element.name}" for element in header.elements)
        raise FormatError(
            f"{path}: the file is {state}: the header promises {tables} = {offset} bytes, "
            f"got {file_size}. Copy or export it again"
        )
    return wanted_offset


def read_binary_blocks(
    path: str | os.PathLike[str],
    file: BinaryIO,
    element: PlyElement,
    offset: int,
    rows_per_block: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, records) blocks of one binary element: bounded memory, warm caches.

    Raises:
        FormatError: the file ends early, because it shrank since it was measured.
    """
    file.seek(offset)
    dtype = element.row_dtype
    for first in range(0, element.count, rows_per_block):
        n = min(rows_per_block, element.count - first)
        raw = file.read(n * dtype.itemsize)
        if len(raw) != n * dtype.itemsize:
            raise FormatError(f"{path}: the file shrank while it was read; is it still written?")
        yield first, np.frombuffer(raw, dtype)


def read_ascii_rows(
    path: str | os.PathLike[str],
    file: BinaryIO,
    header: PlyHeader,
    element: PlyElement,
    file_size: int,
) -> np.ndarray:
    """Return one element of an ASCII file as float64 rows, columns in file order.

    Raises:
        FormatError: fewer rows than promised, rows of another length, or words that are no
            numbers.
    """
    before = 0
    for other in header.elements:
        if other is element:
            break
        before += other.count
    # A value takes at least a digit and a separator, the last one only a digit.
    if 2 * element.count * len(element.properties) - 1 > file_size - header.data_offset:
        raise FormatError(
            f"{path}: the header promises {element.count} rows of {len(element.properties)} "
            f"numbers, more than {file_size - header.data_offset} bytes of text can hold; the "
            "file is truncated or its header lies"
        )
    if element.count == 0:
        return np.empty((0, len(element.properties)))
    file.seek(header.data_offset)
    lines = file.read().decode("latin-1").splitlines()
    body = [line for line in lines if line.strip()][before : before + element.count]
    if len(body) < element.count:
        raise FormatError(
            f"{path}: element {element.name!r} has {len(body)} lines, the header promises "
            f"{element.count}; the file is truncated"
        )
    try:
        rows = np.loadtxt(body, dtype=np.float64, comments=None, ndmin=2)
    except ValueError as error:
        raise FormatError(
            f"{path}: element {element.name!r} is not all numbers: {error}"
        ) from error
    if rows.shape != (element.count, len(element.properties)):
        raise FormatError(
            f"{path}: element {element.name!r} has {rows.shape[1]} numbers a row, the header "
            f"promises {len(element.properties)}; the file is damaged or its header lies"
        )
    return rows
