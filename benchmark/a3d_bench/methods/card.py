"""What the harness knows about a method before it runs: its card, a TOML file.

A card states facts that change what a number means (frame, colour rule, what it was trained on,
whether it is shown the truth) and how the method is run. What is not known stays absent.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from a3d_bench.errors import BenchError
from any3davatar.core import InvalidInput, Similarity
from any3davatar.core.frames import WORLD_FRAMES, world_from_axes
from any3davatar.io import ColorRule

OutputKind = Literal["gaussians", "views", "mesh", "video"]
_CARD_LIMIT_BYTES = 1 << 20
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FIELD = re.compile(r"\{([a-z_]+|env:[A-Z][A-Z0-9_]*)\}")
_ENTRY = re.compile(r"([A-Za-z_][\w.]*|[\w.-]+\.py):[A-Za-z_]\w*")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PythonRunner(_Part):
    """A class with ``reconstruct`` (`a3d_bench.types.Method` or `TruthMethod`).

    Attributes:
        entry: ``module:Class``, or ``file.py:Class`` beside the card.
        options: keyword arguments of the class.
        files: what outputs depend on besides the file of the class and files that options name:
            ``package:path`` of installed ones, such as weights that ship.
    """

    kind: Literal["python"]
    entry: str
    options: dict[str, str | int | float | bool] = {}
    files: tuple[str, ...] = ()

    @field_validator("entry")
    @classmethod
    def _is_entry(cls, entry: str) -> str:
        if not _ENTRY.fullmatch(entry):
            raise ValueError(f"got {entry!r}, expected 'module:Class' or 'file.py:Class'")
        return entry


class CommandRunner(_Part):
    """A program in any environment: one job in, one folder out.

    Every argument may hold the fields of `COMMAND_FIELDS` and ``{env:NAME}``, the value of an
    environment variable; nothing is read by a shell.

    Attributes:
        argv: program and arguments.
        folder: where it is started, relative to the card; a fresh folder of the job where absent.
        result: where in ``{out}`` the output lies, with the fields of `RESULT_FIELDS`; of a
            turntable, the video.
        camera_path: for a video: where in ``{out}`` its cameras lie, or a file beside the card.
        pass_environment: names of environment variables that it sees beside the usual ones.
    """

    kind: Literal["command"]
    argv: Annotated[tuple[str, ...], Field(min_length=1)]
    folder: str | None = None
    result: str
    camera_path: str | None = None
    pass_environment: tuple[str, ...] = ()

    @field_validator("argv")
    @classmethod
    def _are_arguments(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        for word in argv:
            _check_fields(word, COMMAND_FIELDS)
        return argv

    @field_validator("result")
    @classmethod
    def _is_inside(cls, result: str) -> str:
        return _checked_pattern(result)


class ExternalRunner(_Part):
    """Outputs that somebody made already.

    Attributes:
        folder: where they lie; may hold ``{env:NAME}``. Absent: given at the command line.
        result: where in it a capture's output lies, with the fields of `RESULT_FIELDS`. Absent:
            the usual places are tried.
        camera_path: for a video: its cameras, in the folder or beside the card.
    """

    kind: Literal["external"]
    folder: str | None = None
    result: str | None = None
    camera_path: str | None = None

    @field_validator("result")
    @classmethod
    def _is_inside(cls, result: str | None) -> str | None:
        return None if result is None else _checked_pattern(result)


COMMAND_FIELDS = (
    "job", "portrait", "portrait_rgba", "input_folder", "cameras", "out", "seed", "width", "height",
    "background",
)  # fmt: skip
RESULT_FIELDS = ("capture", "capture_path", "subject", "view", "view_name")


class WorldFrame(_Part):
    """The world that a method's output is in, and the map from it into ours.

    Attributes:
        frame: a name of `any3davatar.core.frames.WORLD_FRAMES`, or None with `face` and `up`.
        face: the axis that the face looks along.
        up: the axis that points up.
        scale: what lengths are multiplied by, after the rotation.
        translation: what is added then, in our units.
        varies: scale and centre (or more) differ by subject: read scores after an alignment.
    """

    frame: str | None = None
    face: str | None = None
    up: str | None = None
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    varies: bool = False

    @model_validator(mode="after")
    def _is_one_frame(self) -> "WorldFrame":
        if (self.frame is None) == (self.face is None) or (self.face is None) != (self.up is None):
            raise ValueError("give either frame = 'name', or both face and up")
        if self.frame is not None and self.frame not in WORLD_FRAMES:
            raise ValueError(f"got frame {self.frame!r}, expected one of {sorted(WORLD_FRAMES)}")
        try:
            self.to_canonical()
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return self

    def to_canonical(self) -> Similarity:
        """Return the map from the method's world into ours."""
        import torch

        if self.frame is not None:
            turn = WORLD_FRAMES[self.frame]
        else:
            assert self.face is not None
            assert self.up is not None
            turn = world_from_axes(face=self.face, up=self.up)
        return Similarity(self.scale, turn.rotation, torch.tensor(self.translation))


class MethodCard(_Part):
    """Facts about a method, and how it is run.

    Attributes:
        id: lower-case letters, digits, ``._-``.
        title: as reports show it.
        paper: where it was published.
        year: of publication.
        repository: address of its code.
        commit: that the facts were read at.
        licence_code: of the code.
        licence_weights: of the weights.
        environment: what it needs: Python, CUDA, memory.
        stated_cost: what its authors say it takes.
        output: what it leaves.
        world: the world of that.
        color: what ``f_dc`` of its PLY holds: ``sh`` or ``raw-rgb``.
        background: the colour that its own pictures lie over, where they are used.
        resolution_px: of its own pictures.
        full_head: whether the back of the head is modelled; others are scored on frontal views.
        sees_truth: a ceiling, never a competitor.
        uses_portrait: False for controls that never look at it.
        seed: ``given`` where it takes ours, ``fixed`` where it has one of its own, ``none`` where
            it is deterministic, ``free`` where runs differ.
        trained_on: data sets.
        nersemble_held_out: participants of NeRSemble that it was not trained on, where it was
            trained on the others.
        paper_name: its row in the tables of Any3DAvatar's paper.
        runner: how it is run.
        steps: what a user must do first.
        notes: what a reader of its numbers must know.
        sources: where these facts were read.
    """

    id: str
    title: str
    paper: str | None = None
    year: Annotated[int, Field(ge=1990, le=2100)] | None = None
    repository: str | None = None
    commit: str | None = None
    licence_code: str | None = None
    licence_weights: str | None = None
    environment: str | None = None
    stated_cost: str | None = None
    output: OutputKind
    world: WorldFrame = WorldFrame(frame="any3davatar")
    color: ColorRule = ColorRule.SH
    background: tuple[float, float, float] | None = None
    resolution_px: Annotated[int, Field(ge=1, le=1 << 14)] | None = None
    full_head: bool = True
    sees_truth: bool = False
    uses_portrait: bool = True
    seed: Literal["given", "fixed", "none", "free"] = "free"
    trained_on: tuple[str, ...] = ()
    nersemble_held_out: tuple[str, ...] = ()
    paper_name: str | None = None
    runner: Annotated[PythonRunner | CommandRunner | ExternalRunner, Field(discriminator="kind")]
    steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @field_validator("id")
    @classmethod
    def _is_id(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError(
                f"got {value!r}, expected 1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a "
                "letter or digit"
            )
        return value

    @field_validator("repository")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("https://"):
            raise ValueError(f"got {value!r}, expected an address that begins with https://")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "MethodCard":
        if self.sees_truth and self.runner.kind != "python":
            raise ValueError("a method that sees the truth must have a python runner")
        command = self.runner if self.runner.kind == "command" else None
        if self.output == "video" and command is not None and command.camera_path is None:
            raise ValueError("a video needs runner.camera_path: the cameras of its frames")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the card says."""
        import hashlib

        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def read_card(path: Path) -> MethodCard:
    """Read a card.

    Raises:
        BenchError: the file is no card; the message names the field.
    """
    from any3davatar.io import FormatError
    from any3davatar.io.opening import read_whole

    try:
        values = tomllib.loads(read_whole(path, _CARD_LIMIT_BYTES).decode("utf-8"))
    except FileNotFoundError as error:
        raise BenchError(
            f"{path}: there is no such file; expected a method's card (TOML)"
        ) from error
    except (OSError, ValueError, FormatError) as error:
        raise BenchError(f"{path}: not readable as TOML: {error}") from error
    return card_of(values, str(path))


def card_of(values: Any, origin: str) -> MethodCard:
    """Return the card that a mapping describes; `origin` stands in messages.

    Raises:
        BenchError: it is no card; the message names the field.
    """
    try:
        return MethodCard.model_validate(values)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'card'}: {one['msg']}"
            for one in error.errors(include_url=False)[:5]
        )
        raise BenchError(
            f"{origin}: not a method's card: {told}. `a3d-bench methods new` writes one to start "
            "from"
        ) from error


def filled(template: str, fields: dict[str, str]) -> str:
    """Return a template with its fields filled.

    Raises:
        BenchError: an environment variable that it names is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not name.startswith("env:"):
            return fields[name]
        variable = name.removeprefix("env:")
        if not os.environ.get(variable):
            raise BenchError(
                f"the environment variable {variable} is not set; the method's card says what it "
                "must hold (`a3d-bench methods show`)"
            )
        return os.environ[variable]

    return _FIELD.sub(value, template)


def _check_fields(template: str, allowed: tuple[str, ...]) -> None:
    unknown = [
        name
        for name in re.findall(r"\{([^{}]*)\}", template)
        if name not in allowed and not re.fullmatch(r"env:[A-Z][A-Z0-9_]*", name)
    ]
    if unknown:
        raise ValueError(
            f"{template!r} has the unknown field {{{unknown[0]}}}; expected one of "
            f"{', '.join(allowed)} or env:NAME"
        )


def _checked_pattern(pattern: str) -> str:
    _check_fields(pattern, RESULT_FIELDS)
    if "env:" in pattern or pattern.startswith(("/", "~")) or ".." in Path(pattern).parts:
        raise ValueError(f"{pattern!r} must be a path inside the output folder")
    return pattern
