"""A protocol: everything that decides a score besides the method, as versioned data with a digest.

A protocol is a TOML file. Two scores may stand in one table only if they were made under the same
digest, so whatever can move a number stands in the file: which heads, which views, which picture is
the input, size, crop, background, alignment, metrics, aggregation, what a failure counts as, seeds.

``name@version#digest`` is the protocol's id. A changed file has another digest whether or not its
author thought of the version; the version is for people.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from a3d_bench.errors import BenchError
from a3d_bench.types import Alignment

_FILE_LIMIT_BYTES = 1 << 20
_IN_PACKAGE = Path(__file__).parent / "_assets" / "protocols"
_IN_CHECKOUT = Path(__file__).parents[2] / "protocols"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")

MetricId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(\[[a-z0-9_]+\])?$")]
Channel = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataRule(_Section):
    """Which captures are scored.

    Attributes:
        kind: the layout that the protocol's own data has; ``any`` has no data of its own.
        dataset: its name, for reports.
        subjects: whose heads, by id; empty means every subject that is found.
        sequences: NeRSemble: the k-th subject shows sequence k modulo their number.
        frame: NeRSemble: index of the frame in the sequence, from 0.
        cameras: serial numbers or view names that are used, in this order; empty means all.
        color_correction: NeRSemble: whether ``color_calibration.json`` is applied.
        expected_subjects: how many a complete set has; None where any number is complete.
        expected_views: how many views each capture has in a complete set, before `ViewRule`.
        drawn_px: width and height at which our own set is drawn before it is reduced to the
            picture; None is as large as the picture's window needs. Hair drawn with four samples
            a pixel is noise at 64 pixels; drawn larger and reduced, it is not.
    """

    kind: Literal["anyhead", "nersemble", "any"]
    dataset: str
    subjects: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    frame: int = Field(0, ge=0)
    cameras: tuple[str, ...] = ()
    color_correction: bool = False
    expected_subjects: int | None = Field(None, ge=1)
    expected_views: int | None = Field(None, ge=1)
    drawn_px: int | None = Field(None, ge=16, le=4096)

    @model_validator(mode="after")
    def _consistent(self) -> "DataRule":
        for field in ("subjects", "sequences", "cameras"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} must be different from each other")
        if self.kind == "nersemble" and not self.sequences:
            raise ValueError("kind 'nersemble' needs at least one of `sequences`")
        return self


class InputRule(_Section):
    """Which picture a method is given.

    Attributes:
        rule: ``frontal``, the view nearest to straight in front; or ``camera``, a named one.
        camera: the name for ``camera``.
        shows_alpha: whether methods get the foreground's alpha beside the picture.
        shows_camera: whether methods are told the camera of the picture.
    """

    rule: Literal["frontal", "camera"]
    camera: str | None = None
    shows_alpha: bool
    shows_camera: bool

    @model_validator(mode="after")
    def _consistent(self) -> "InputRule":
        if (self.rule == "camera") != (self.camera is not None):
            raise ValueError("`camera` goes with the rule 'camera' and with no other")
        return self


class Picture(_Section):
    """What the pictures are that are compared, and that methods get and give.

    Attributes:
        size_px: width and height.
        vertical_fov_deg: the square window that is cut out around the principal point, as a field
            of view; None, written ``"none"``, keeps the largest square that the picture has.
        background: sRGB colour behind the head.
    """

    size_px: int = Field(ge=16, le=4096)
    vertical_fov_deg: float | None = Field(gt=0, lt=180)
    background: tuple[Channel, Channel, Channel]

    @field_validator("vertical_fov_deg", mode="before")
    @classmethod
    def _none_is_a_word_in_toml(cls, value: object) -> object:
        return None if value == "none" else value


class ViewRule(_Section):
    """Which views of a capture are scored.

    Attributes:
        rule: ``all``; or ``spread``, the input view and then those farthest from all before.
        count: how many for ``spread``; a capture with fewer gives all.
        scores_input: whether the input view itself counts.
    """

    rule: Literal["all", "spread"]
    count: int | None = Field(None, ge=1)
    scores_input: bool

    @model_validator(mode="after")
    def _consistent(self) -> "ViewRule":
        if (self.rule == "spread") != (self.count is not None):
            raise ValueError("`count` goes with the rule 'spread' and with no other")
        return self


class AlignmentRule(_Section):
    """What is done to predictions before they are scored.

    Attributes:
        reported: every alignment that gets columns of its own.
        main: the one that tables and rankings go by.
    """

    reported: tuple[Alignment, ...] = Field(min_length=1)
    main: Alignment

    @model_validator(mode="after")
    def _consistent(self) -> "AlignmentRule":
        if self.main not in self.reported or len(set(self.reported)) < len(self.reported):
            raise ValueError("`main` must be one of `reported`, which must differ")
        return self


class AggregationRule(_Section):
    """How values become a number: views are averaged, then subjects, with an interval.

    Attributes:
        statistic: of views within a subject and of subjects within the set.
        interval_level: coverage that the interval aims at.
        bootstrap_resamples: resamples of whole subjects.
        comparison: correction of paired tests for their number.
    """

    statistic: Literal["mean"]
    interval_level: float = Field(gt=0.5, lt=1)
    bootstrap_resamples: int = Field(ge=100, le=1_000_000)
    comparison: Literal["holm"]


class FailureRule(_Section):
    """What becomes of what could not be scored.

    Attributes:
        rule: ``leave_out``: it has no value, is counted and shown, and comparisons of methods go
            over the subjects that all of them have.
        failed_share_max: largest share of failed captures with which a run still ends well.
    """

    rule: Literal["leave_out"]
    failed_share_max: float = Field(ge=0, le=1)


class Protocol(_Section):
    """A protocol; see the module.

    Attributes:
        name: letters, digits and ``-``; what was overridden is appended with ``+``.
        version: counted up with every change of the file.
        title: one line.
        source: where it comes from, and what in it is our own choice.
        seed: of everything that draws: methods and the bootstrap.
        metrics: full ids, in the order of columns; one that is unavailable keeps its column.
        face_max_azimuth_deg: face metrics count up to this angle from the front.
        data: which captures.
        input: which picture methods get.
        picture: size, window, background.
        views: which views are scored.
        alignment: what is done to predictions before.
        aggregation: how values become a number.
        failure: what a failure counts as.
    """

    name: str
    version: int = Field(ge=1)
    title: str
    source: str
    seed: int = Field(ge=0)
    metrics: tuple[MetricId, ...] = Field(min_length=1)
    face_max_azimuth_deg: float = Field(ge=0, le=180)
    data: DataRule
    input: InputRule
    picture: Picture
    views: ViewRule
    alignment: AlignmentRule
    aggregation: AggregationRule
    failure: FailureRule

    @model_validator(mode="after")
    def _consistent(self) -> "Protocol":
        if not _NAME.fullmatch(self.name.partition("+")[0]):
            raise ValueError(f"name: got {self.name[:80]!r}, expected a-z, 0-9 and '-'")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics must be different from each other")
        return self

    @property
    def canonical(self) -> str:
        """The protocol as JSON with one spelling: sorted keys, no spaces, shortest floats.

        A field that came after version 1 of the protocols is left out where it is not used, so that
        they keep their digests.
        """
        unused = {"drawn_px"} if self.data.drawn_px is None else set()
        return json.dumps(
            self.model_dump(mode="json", exclude={"data": unused}),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
            allow_nan=False,
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `canonical`, hexadecimal."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @property
    def id(self) -> str:
        """``name@version#digest``, the digest cut to 8 digits."""
        return f"{self.name}@{self.version}#{self.digest[:8]}"


def protocol_names() -> list[str]:
    """Return the names of the protocols that are shipped, sorted."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")})


def load_protocol(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Protocol:
    """Return a protocol.

    Args:
        name_or_path: a name of `protocol_names`, or a path that ends in ``.toml``.
        overrides: ``section.key=value`` each; the value is TOML, where quotes may be left out:
            ``picture.size_px=64``, ``metrics=[psnr,lpips[alex]]``. They change the digest, and are
            appended to the name.

    Raises:
        BenchError: no such protocol, a damaged file, a value out of range, or an unknown key.
    """
    path = _path_of(str(name_or_path))
    values = _read(path)
    for override in overrides:
        _apply(values, override)
    if overrides and isinstance(values.get("name"), str):
        values["name"] = "+".join([values["name"], *overrides])
    try:
        return Protocol.model_validate(values)
    except ValidationError as error:
        # What pydantic calls a location is the key's path in the file.
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'protocol'}: {each['msg']}, got "
            f"{str(each['input'])[:80]}"
            for each in error.errors(include_url=False)[:5]
        )
        raise BenchError(
            f"{path}: {problems}; correct the file or the override (`a3d-bench protocols show "
            "anyhead` shows a complete one)"
        ) from error


def _folders() -> list[Path]:
    return [folder for folder in (_IN_PACKAGE, _IN_CHECKOUT) if folder.is_dir()]


def _path_of(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        return Path(name_or_path)
    for folder in _folders():
        if _NAME.fullmatch(name_or_path) and (folder / f"{name_or_path}.toml").is_file():
            return folder / f"{name_or_path}.toml"
    raise BenchError(
        f"no protocol is named {name_or_path[:80]!r}; expected one of "
        f"{', '.join(protocol_names()) or 'none'} (looked in {_IN_PACKAGE} and {_IN_CHECKOUT}), or "
        "a path that ends in .toml"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _FILE_LIMIT_BYTES:
            raise BenchError(f"{path}: larger than 1 MiB; no protocol is")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BenchError(f"{path}: there is no such protocol file; check the path") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{path}: can't be read as TOML: {error}") from error


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one value of a protocol that was read."""
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last or not text.strip():
        raise BenchError(
            f"got the override {override[:80]!r}, expected section.key=value, such as "
            "picture.size_px=64"
        )
    holder: Any = values
    for section in sections:
        holder = holder.get(section) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or last in ("name", "version"):
        raise BenchError(
            f"the override {override[:80]!r} names no setting of a protocol; `a3d-bench protocols "
            "show` lists them"
        )
    holder[last] = _value(text.strip())


def _value(text: str) -> Any:
    """Return a TOML value; what is none is a word, or in brackets a list of words."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        if text.startswith("[") and text.endswith("]"):
            return [word.strip().strip("'\"") for word in text[1:-1].split(",") if word.strip()]
        return text
