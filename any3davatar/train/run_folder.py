"""A run's folder: its resolved configuration and its data, written before anything else happens.

::

    RUN/
      config.json                      what the run is; never changed
      log.jsonl  tensorboard/          one line an entry; the same as curves
      pictures/0000002000.png          held-out heads, truth above prediction
      checkpoint-0000002000.safetensors
      weights.safetensors              the averaged weights, when the run is done
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from any3davatar.anyhead import layout
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.manifest import read_manifest
from any3davatar.anyhead.readers import AnyHead, GroupEntry
from any3davatar.io import FormatError, atomic_path
from any3davatar.io.json_file import read_json_object
from any3davatar.train.config import TrainConfig, differences, from_json, to_json
from any3davatar.train.hull import evenly

CONFIG = "config.json"
FORMAT = "any3davatar.training-run"
VERSION = 1


@dataclass(frozen=True)
class RunData:
    """What a run learns from.

    Attributes:
        roots: the data sets.
        groups: to learn from.
        held_out: to look at.
        digest: of the manifests and of the list of groups, which together stand for every byte.
    """

    roots: tuple[Path, ...]
    groups: tuple[GroupEntry, ...]
    held_out: tuple[GroupEntry, ...]
    digest: str


def open_data(roots: Sequence[Path], config: TrainConfig, held_out: int) -> RunData:
    """List the groups of one or more data sets for a run.

    Held-out heads come from the validation splits, one group a subject, evenly spread. With
    ``split="all"`` there is none, and none are drawn.

    Raises:
        DataError: no data set, no such split, nothing in it, a group in two of the sets, or a
            subject that is in the training split of one and in the validation split of another.
        FormatError, OSError: a record is damaged or missing.
    """
    groups, others = [], []
    for root in roots:
        if config.split == "all":
            found = AnyHead(root).groups
        else:
            if not (root / layout.SPLITS).is_file():
                raise DataError(
                    f"{root} has no {layout.SPLITS}: run `any3davatar data split`, or train on all "
                    "of it with split=all"
                )
            found = AnyHead(root, split="train").groups
            others += AnyHead(root, split="validation").groups
        if not found:
            raise DataError(f"{root}: got no group in split={config.split}, expected at least one")
        groups += found
    _check_apart(groups, others)
    spread = tuple(evenly(one_a_subject(others), held_out))
    digests = [
        {name: read_manifest(root / name).digest for name in layout.subsets_in(root)}
        for root in roots
    ]
    content = json.dumps([digests, [group.id for group in groups]])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return RunData(tuple(roots), tuple(groups), spread, digest)


def _check_apart(groups: Sequence[GroupEntry], held_out: Sequence[GroupEntry]) -> None:
    """Raise `DataError` where two sets hold one group, or split one subject differently."""
    twice = [name for name, count in Counter(group.id for group in groups).items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]} is in two of the data sets; give each person once")
    known = {group.head.subject for group in groups}
    both = sorted(known & {group.head.subject for group in held_out})
    if both:
        raise DataError(
            f"{both[0]} is in the training split of one data set and in the validation split of "
            "another; split both by one rule"
        )


def one_a_subject(groups: Sequence[GroupEntry]) -> tuple[GroupEntry, ...]:
    """Return the first group of each subject."""
    return tuple({group.head.subject: group for group in reversed(groups)}.values())[::-1]


def write_config(folder: Path, preset: str, config: TrainConfig, data: RunData) -> None:
    """Write ``config.json`` of a new run."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "any3davatar": version("any3davatar"),
        "preset": preset,
        "data": {
            "roots": list(map(str, data.roots)),
            "groups": len(data.groups),
            "digest": data.digest,
        },
        "train": to_json(config),
    }
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def check_config(folder: Path, config: TrainConfig) -> None:
    """Raise `DataError` if the run in a folder is another one than asked for.

    Raises:
        DataError: another configuration.
        FormatError: ``config.json`` is damaged, or of another version.
    """
    top = read_json_object(folder / CONFIG)
    if top.values.get("format") != FORMAT or top.values.get("version") != VERSION:
        top.refuse("format", f"{FORMAT!r}, version {VERSION}")
    if not isinstance(top.values.get("train"), dict):
        top.refuse("train", "an object")
    try:
        stored = from_json(top.values["train"])
    except ValueError as error:
        raise FormatError(f"{folder / CONFIG}: {error}") from error
    changed = differences(stored, config)
    if changed:
        raise DataError(
            f"{folder} holds another run ({'; '.join(changed)}); ask for the same configuration to "
            "go on with it, or train in another folder"
        )
