"""Where things lie: the folders of appendix C.2, and the names that may become folders.

::

    ROOT/
      SPLITS.json
      {subset folder}/
        README.md  MANIFEST.json
        {HEAD_ID}/
          HEAD.json
          {EXPRESSION_ID or ACCESSORY_ID}/     no such level in AI_Generated_Heads_Dataset
            {VIEW_ID}.png ...  CAMERA_PARAMETERS.json
      .build/                                  what a running or stopped build needs

The upper-case JSON files are ours: C.2 prescribes the folders, the pictures, ``README.md`` and, for
two of the subsets, ``CAMERA_PARAMETERS.json``.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from any3davatar.anyhead.errors import DataError

AI_GENERATED = "AI_Generated_Heads_Dataset"
DIGITAL_HUMAN = "Digital_Human_Heads_Dataset"
ACCESSORY_RICH = "Accessory_Rich_Heads_Dataset"
SUBSETS = (AI_GENERATED, DIGITAL_HUMAN, ACCESSORY_RICH)

CAMERA_PARAMETERS = "CAMERA_PARAMETERS.json"
HEAD_RECORD = "HEAD.json"
MANIFEST = "MANIFEST.json"
README = "README.md"
REVIEW = "REVIEW.json"
SPLITS = "SPLITS.json"
BUILD_FOLDER = ".build"

ID_LENGTH_MAX = 64
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def checked_id(name: str, what: str) -> str:
    """Return a name that may become a file or folder name.

    Args:
        name: letters, digits, ``-`` and ``_``, a letter or digit first, at most 64.
        what: what it names, for the message.

    Raises:
        DataError: any other name; none that passes can lead out of its folder.
    """
    if not (isinstance(name, str) and len(name) <= ID_LENGTH_MAX and _ID.fullmatch(name)):
        raise DataError(
            f"{what}: got {str(name)[:80]!r}, expected 1 to {ID_LENGTH_MAX} letters, digits, '-' "
            "and '_' that begin with a letter or digit; choose another name"
        )
    return name


def checked_subset(name: str) -> str:
    """Return the name of a subset's folder, or raise `DataError`."""
    if name not in SUBSETS:
        raise DataError(f"got the subset {name[:80]!r}, expected one of {', '.join(SUBSETS)}")
    return name


def head_id(prefix: str, number: int) -> str:
    """Return the id of a head by its number, which is its seed: ``dh-0000003``."""
    return checked_id(f"{prefix}-{number:07d}", "head id")


def view_id(index: int) -> str:
    """Return the id of the view at an index: ``007``."""
    return f"{index:03d}"


def head_folder(root: Path, subset: str, head: str) -> Path:
    """Return the folder of a head."""
    return root / checked_subset(subset) / checked_id(head, "head id")


def group_folder(root: Path, subset: str, head: str, group: str | None) -> Path:
    """Return the folder of a group; `group` is None where the subset has no such level."""
    folder = head_folder(root, subset, head)
    return folder if group is None else folder / checked_id(group, "group id")


def subsets_in(root: Path) -> tuple[str, ...]:
    """Return the subsets that a root holds, in the order of the paper.

    Raises:
        DataError: there is none.
    """
    found = tuple(name for name in SUBSETS if (root / name).is_dir())
    if not found:
        raise DataError(
            f"{root}: got a folder without any of {', '.join(SUBSETS)}, expected the root of an "
            "AnyHead data set; give the folder above the subsets, or build one with "
            "`any3davatar data build`"
        )
    return found


def heads_in(subset_folder: Path) -> Iterator[Path]:
    """Yield the head folders of a subset, sorted."""
    for folder in sorted(subset_folder.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            yield folder
