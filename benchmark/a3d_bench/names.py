"""File names for ids that strangers chose: any text becomes one safe path component."""

import hashlib
import re

_LONGEST = 100  # characters; file systems end at 255 bytes, and suffixes follow
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)($|\.)", re.IGNORECASE)


def slug(text: str) -> str:
    """Return a file name for an id: letters, digits, ``._-`` stay; two ids never share one.

    ``/`` becomes ``+``, every other character ``~`` and its code point in hexadecimal. A digest at
    the end tells apart what would otherwise collide: upper case on a file system that ignores it,
    names that had to be cut, dots at the ends, and names that Windows reserves.
    """
    plain = "".join(c if re.match(r"[a-z0-9._-]", c) else _escaped(c) for c in text)
    risky = plain.startswith(".") or _RESERVED.match(plain) or plain != plain.rstrip(".")
    if len(plain) <= _LONGEST and plain and not risky and text == text.lower():
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    prefix = "id~" if risky or not plain else ""
    return f"{prefix}{plain.strip('.')[:_LONGEST]}~~{digest}"


def _escaped(character: str) -> str:
    if character == "/":
        return "+"
    if character.isascii() and character.isalpha():
        return character
    return f"~{ord(character):x}"
