"""What a run writes down: one JSON line an entry, and TensorBoard events beside it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.io import atomic_path, write_png

LOG = "log.jsonl"
PICTURES = "pictures"
EVENTS = "tensorboard"


class RunLog:
    """The log of a run, in its folder.

    Lines about samples that a resumed run will see again are dropped when it is opened, so that the
    log of a run that was killed reads like that of one that was not.

    Args:
        folder: the run's folder.
        samples: samples seen when the run (re)starts.
        tensorboard: write events too.

    Raises:
        InvalidInput: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, samples: int, *, tensorboard: bool) -> None:
        self._path = folder / LOG
        self._pictures = folder / PICTURES
        self._pictures.mkdir(exist_ok=True)
        _drop_after(self._path, samples)
        self._writer = _writer(folder / EVENTS, samples) if tensorboard else None

    def line(self, samples: int, kind: str, values: Mapping[str, Any]) -> None:
        """Add one entry and flush it.

        Args:
            samples: samples seen.
            kind: ``start``, ``train``, ``held_out``, ``checkpoint``, ``skipped``,
                ``pause`` or ``end``.
            values: numbers become curves; everything is JSON.
        """
        entry = {"samples": samples, "kind": kind, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    self._writer.add_scalar(f"{kind}/{name}", value, samples)

    def picture(self, samples: int, rgb: Float[Tensor, "3 H W"]) -> None:
        """Keep a picture."""
        write_png(self._pictures / f"{samples:010d}.png", rgb)
        if self._writer is not None:
            self._writer.add_image("held_out", rgb.clamp(0, 1), samples)

    def close(self) -> None:
        """Flush what is buffered."""
        if self._writer is not None:
            self._writer.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's log; a last line that a crash cut short is left out."""
    path = folder / LOG
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    return [json.loads(line) for line in lines[:-1]]


def _drop_after(path: Path, samples: int) -> None:
    kept = [entry for entry in read_log(path.parent) if entry["samples"] <= samples]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")


def _writer(folder: Path, samples: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InvalidInput(
            "TensorBoard is not installed: `pip install tensorboard`, or set tensorboard=false"
        ) from error
    return SummaryWriter(str(folder), purge_step=samples + 1)
