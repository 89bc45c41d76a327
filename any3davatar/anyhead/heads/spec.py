"""``HeadSpec``: everything that decides what a head looks like, as a value to be written down.

A spec is plain data (numbers, names, tuples), equal specs give equal heads, and it survives JSON.
All amounts are in [0, 1] unless said otherwise, names are those of the tables next to the code
that uses them, and colours are sRGB triples in [0, 1].
"""

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from any3davatar.anyhead.heads import names

Rgb = tuple[float, float, float]
Side = Literal["left", "right", "both"]
Weights = tuple[tuple[str, float], ...]


class SpecError(ValueError):
    """A spec breaks a rule; the message begins with the field's path."""


def _check_range(where: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
        raise SpecError(f"{where}: got {value!r}, expected a number in [{low:g}, {high:g}]")


def _check_name(where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SpecError(f"{where}: got {value!r}, expected one of {', '.join(allowed)}")


def _check_rgb(where: str, value: Rgb) -> None:
    if not (isinstance(value, tuple) and len(value) == 3):
        raise SpecError(f"{where}: got {value!r}, expected three sRGB numbers in [0, 1]")
    for channel, number in zip("rgb", value, strict=True):
        _check_range(f"{where}.{channel}", number)


def _check_weights(where: str, value: Weights, allowed: tuple[str, ...], low: float) -> None:
    seen: set[str] = set()
    for key, number in value:
        if key not in allowed:
            raise SpecError(f"{where}.{key}: unknown name; expected one of {', '.join(allowed)}")
        if key in seen:
            raise SpecError(f"{where}.{key}: given twice")
        seen.add(key)
        _check_range(f"{where}.{key}", number, low)


def _check_amounts(where: str, part: object, *fields: str) -> None:
    for name in fields:
        _check_range(f"{where}.{name}", getattr(part, name))


@dataclass(frozen=True)
class Identity:
    """Bone and flesh.

    Attributes:
        masculine: 0 female, 1 male, mixtures between.
        age_years: 10 to 85.
        african, asian, european: shares of ancestry; only their ratio counts.
        weight, muscle: 0.5 is average.
        shape: named controls (``names.SHAPE_CONTROLS``) in [-1, 1], for example
            ``(("nose_width", 0.4), ("jaw_width", -0.2))``.
    """

    masculine: float = 0.5
    age_years: float = 30.0
    african: float = 0.0
    asian: float = 0.0
    european: float = 1.0
    weight: float = 0.5
    muscle: float = 0.5
    shape: Weights = ()

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_amounts(
            "identity", self, "masculine", "african", "asian", "european", "weight", "muscle"
        )
        _check_range("identity.age_years", self.age_years, 10, 85)
        if self.african + self.asian + self.european <= 0:
            raise SpecError("identity.african/asian/european: all are 0, expected a positive share")
        _check_weights("identity.shape", self.shape, names.SHAPE_CONTROLS, -1.0)


@dataclass(frozen=True)
class Skin:
    """Complexion: ``tone`` runs from very light (0) to very dark (1)."""

    tone: float = 0.3
    ruddy: float = 0.5
    freckles: float = 0.0
    moles: int = 2
    stubble: float = 0.0
    lipstick: float = 0.0
    lipstick_color: Rgb = (0.62, 0.13, 0.18)
    eye_shadow: float = 0.0

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_amounts(
            "skin", self, "tone", "ruddy", "freckles", "stubble", "lipstick", "eye_shadow"
        )
        _check_range("skin.moles", self.moles, 0, 12)
        _check_rgb("skin.lipstick_color", self.lipstick_color)


@dataclass(frozen=True)
class Eyes:
    """Iris colour by name, size of the iris, length of the lashes, shape of the brows."""

    color: str = "brown"
    iris_size: float = 0.5
    lashes: float = 0.5
    brow_thickness: float = 0.5
    brow_arch: float = 0.5
    brow_darkness: float = 0.5

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_name("eyes.color", self.color, names.EYE_COLORS)
        _check_amounts(
            "eyes", self, "iris_size", "lashes", "brow_thickness", "brow_arch", "brow_darkness"
        )


@dataclass(frozen=True)
class Hair:
    """Scalp hair; ``length`` and ``volume`` scale the style, 0.5 leaves it as designed.

    ``part`` places the parting from the subject's right (-1) to the left (+1), ``hairline``
    lets it recede, ``grey`` is the share of grey hairs.
    """

    style: str = "short"
    color: str = "brown"
    length: float = 0.5
    volume: float = 0.5
    part: float = 0.7
    hairline: float = 0.0
    grey: float = 0.0

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_name("hair.style", self.style, names.HAIR_STYLES)
        _check_name("hair.color", self.color, names.HAIR_COLORS)
        _check_amounts("hair", self, "length", "volume", "hairline", "grey")
        _check_range("hair.part", self.part, -1.0)


@dataclass(frozen=True)
class Beard:
    """Facial hair of some length; stubble is part of the skin."""

    style: str = "none"
    length: float = 0.5

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_name("beard.style", self.style, names.BEARD_STYLES)
        _check_amounts("beard", self, "length")


@dataclass(frozen=True)
class Clothes:
    """What covers the bust."""

    style: str = "crew"
    color: Rgb = (0.20, 0.25, 0.34)
    accent: Rgb = (0.85, 0.85, 0.82)

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_name("clothes.style", self.style, names.CLOTHES_STYLES)
        _check_rgb("clothes.color", self.color)
        _check_rgb("clothes.accent", self.accent)


@dataclass(frozen=True)
class Expression:
    """A named expression, its strength, and single face units on top.

    ``units`` are ARKit blendshape names with weights in [0, 1]; they replace what the named
    expression sets for that unit.
    """

    name: str = "neutral"
    strength: float = 1.0
    units: Weights = ()

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_name("expression.name", self.name, names.EXPRESSIONS)
        _check_amounts("expression", self, "strength")
        _check_weights("expression.units", self.units, names.FACE_UNITS, 0.0)


@dataclass(frozen=True)
class Accessory:
    """One thing worn. ``side`` matters to earrings only; ``shape`` varies the model."""

    kind: str
    color: Rgb = (0.12, 0.12, 0.14)
    accent: Rgb = (0.75, 0.60, 0.30)
    side: Side = "both"
    shape: float = 0.5

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_name("accessory.kind", self.kind, names.ACCESSORIES)
        _check_name("accessory.side", self.side, ("left", "right", "both"))
        _check_rgb("accessory.color", self.color)
        _check_rgb("accessory.accent", self.accent)
        _check_amounts("accessory", self, "shape")


@dataclass(frozen=True)
class Lighting:
    """A light set-up by name, turned about +y by ``turn_deg`` (toward the subject's left)."""

    name: str = "studio"
    turn_deg: float = 0.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        _check_name("lighting.name", self.name, names.LIGHTINGS)
        _check_range("lighting.turn_deg", self.turn_deg, -360, 360)
        _check_range("lighting.strength", self.strength, 0.1, 4)


@dataclass(frozen=True)
class HeadSpec:
    """A complete head. ``seed`` decides the placement of every hair, pore and mole."""

    seed: int = 0
    identity: Identity = field(default_factory=Identity)
    skin: Skin = field(default_factory=Skin)
    eyes: Eyes = field(default_factory=Eyes)
    hair: Hair = field(default_factory=Hair)
    beard: Beard = field(default_factory=Beard)
    clothes: Clothes = field(default_factory=Clothes)
    expression: Expression = field(default_factory=Expression)
    accessories: tuple[Accessory, ...] = ()
    lighting: Lighting = field(default_factory=Lighting)
    look: str = "natural"

    def __post_init__(self) -> None:
        """Raise SpecError naming the field that is out of range."""
        if not (isinstance(self.seed, int) and 0 <= self.seed < 2**63):
            raise SpecError(f"seed: got {self.seed!r}, expected an integer in [0, 2**63)")
        _check_name("look", self.look, names.LOOKS)
        worn = [accessory.kind for accessory in self.accessories]
        for kind in worn:
            if worn.count(kind) > 1:
                raise SpecError(f"accessories: {kind!r} is worn twice")
        hats = [kind for kind in worn if kind in names.HEADWEAR]
        if len(hats) > 1:
            raise SpecError(f"accessories: {' and '.join(hats)} cannot be worn together")


def to_json(spec: HeadSpec) -> str:
    """Write a spec as indented JSON; named weights become an object."""
    return json.dumps(_plain(spec), indent=2) + "\n"


def from_json(text: str) -> HeadSpec:
    """Read a spec written by ``to_json`` or by hand; left-out fields keep their defaults.

    Raises:
        SpecError: the text is not JSON, or a field is unknown, of the wrong type or out of range.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"spec: not valid JSON ({error})") from error
    return _parsed(HeadSpec, tree, "spec")


def read_spec(path: Path) -> HeadSpec:
    """Read a spec file; see ``from_json``."""
    return from_json(path.read_text())


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            entry.name: (
                dict(getattr(value, entry.name))
                if entry.type == Weights
                else _plain(getattr(value, entry.name))
            )
            for entry in dataclasses.fields(value)
        }
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _parsed(kind: Any, tree: Any, where: str) -> Any:
    """Turn parsed JSON into a value of type ``kind``, naming the field when that fails."""
    if dataclasses.is_dataclass(kind):
        return _parsed_dataclass(kind, tree, where)
    if kind == Weights:
        if not isinstance(tree, Mapping):
            raise SpecError(f"{where}: got {tree!r}, expected an object of names and numbers")
        return tuple(
            (key, _parsed(float, number, f"{where}.{key}")) for key, number in tree.items()
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(tree, list):
            raise SpecError(f"{where}: got {tree!r}, expected a list")
        many = arguments[-1] is Ellipsis
        item_kinds = arguments[:1] * len(tree) if many else arguments
        if len(item_kinds) != len(tree):
            raise SpecError(f"{where}: got {len(tree)} items, expected {len(item_kinds)}")
        return tuple(
            _parsed(item_kind, item, f"{where}[{index}]")
            for index, (item_kind, item) in enumerate(zip(item_kinds, tree, strict=True))
        )
    if origin is Literal:
        kind = str
    if kind is float and isinstance(tree, int) and not isinstance(tree, bool):
        return float(tree)
    if not isinstance(tree, kind) or isinstance(tree, bool):
        raise SpecError(f"{where}: got {tree!r}, expected {kind.__name__}")
    return tree


def _parsed_dataclass(kind: Any, tree: Any, where: str) -> Any:
    if not isinstance(tree, Mapping):
        raise SpecError(f"{where}: got {tree!r}, expected an object")
    known = {entry.name: entry.type for entry in dataclasses.fields(kind)}
    for key in tree:
        if key not in known:
            raise SpecError(f"{where}.{key}: unknown field; expected one of {', '.join(known)}")
    for entry in dataclasses.fields(kind):
        required = (
            entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        )
        if required and entry.name not in tree:
            raise SpecError(f"{where}.{entry.name}: missing")
    return kind(**{key: _parsed(known[key], item, f"{where}.{key}") for key, item in tree.items()})
