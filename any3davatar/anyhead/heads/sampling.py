"""Draw random heads: who they are, how they look, what they wear.

The draws follow rough habits (beards on men, grey with age, dark skin and hair with African
ancestry) so that a sample looks like a population, but every combination can also be written by
hand. All draws come from one generator per seed, in a fixed order.
"""

from typing import TypeVar

import numpy as np

from any3davatar.anyhead.heads import names
from any3davatar.anyhead.heads.noise import stream
from any3davatar.anyhead.heads.spec import (
    Accessory,
    Beard,
    Clothes,
    Expression,
    Eyes,
    Hair,
    HeadSpec,
    Identity,
    Lighting,
    Rgb,
    Side,
    Skin,
    Weights,
)

_T = TypeVar("_T")

# Standard deviations of shape controls that should stay subtle; the others use _SPREAD.
_SPREAD = 0.56
_SUBTLE = {
    "mouth_corners_up": 0.25, "double_chin": 0.25, "prognathism": 0.3, "brow_angle": 0.35,
    "dimples": 0.25, "laugh_lines": 0.25, "eye_height": 0.3, "mouth_up": 0.35,
    "neck_thickness": 0.3, "ear_pointed": 0.0, "forehead_bulge": 0.3, "forehead_height": 0.25,
    "eye_bags": 0.3, "face_height": 0.33, "face_fat": 0.4, "jaw_drop": 0.35, "chin_cleft": 0.35,
}  # fmt: skip
_FACE_SHAPES = tuple(
    name
    for name in names.SHAPE_CONTROLS
    if name.startswith("face_") and name not in ("face_width", "face_height", "face_fat")
)
_SHORT = ("buzz", "short", "side_part", "quiff", "slick", "fringe", "short_curly")
_LONG = ("long", "wavy", "curly", "bob", "bangs", "bun", "ponytail", "braids", "pixie")
_COILED = ("afro", "dreads", "short_curly", "buzz", "braids", "bun", "curly")


def _pick(rng: np.random.Generator, weights: dict[_T, float]) -> _T:
    options = list(weights)
    shares = np.array([weights[option] for option in options], float)
    return options[int(rng.choice(len(options), p=shares / shares.sum()))]


def _rounded(value: float) -> float:
    return round(float(value), 3)


def _near(rng: np.random.Generator, mean: float, spread: float) -> float:
    return _rounded(np.clip(mean + spread * rng.standard_normal(), 0, 1))


def _color(rng: np.random.Generator, saturation: float = 0.75) -> Rgb:
    import colorsys

    hue, value = rng.random(), rng.uniform(0.15, 0.85)
    rgb = colorsys.hsv_to_rgb(hue, rng.uniform(0.05, saturation), value)
    return (_rounded(rgb[0]), _rounded(rgb[1]), _rounded(rgb[2]))


def _shape(rng: np.random.Generator) -> Weights:
    values: dict[str, float] = {}
    for control in names.SHAPE_CONTROLS:
        if control in _FACE_SHAPES:
            continue
        spread = _SUBTLE.get(control, _SPREAD)
        values[control] = _rounded(np.clip(spread * rng.standard_normal(), -1, 1))
    values[_FACE_SHAPES[rng.integers(len(_FACE_SHAPES))]] = _rounded(rng.uniform(0.1, 0.8))
    return tuple((name, value) for name, value in values.items() if value != 0)


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw bone and flesh: mostly one ancestry with some mixture, all adult ages, some children."""
    shares = rng.dirichlet((0.35, 0.35, 0.35))
    masculine = rng.beta(0.35, 0.35)
    return Identity(
        masculine=_rounded(masculine),
        age_years=_rounded(
            _pick(
                rng, {rng.uniform(18, 45): 0.6, rng.uniform(45, 80): 0.3, rng.uniform(12, 18): 0.1}
            )
        ),
        african=_rounded(shares[0]),
        asian=_rounded(shares[1]),
        european=_rounded(min(1.0, shares[2] + 0.001)),  # never no ancestry at all
        weight=_rounded(np.clip(0.5 + 0.22 * rng.standard_normal(), 0.05, 1)),
        muscle=_rounded(np.clip(0.5 + 0.15 * rng.standard_normal(), 0.1, 0.9)),
        shape=_shape(rng),
    )


def _skin(rng: np.random.Generator, identity: Identity) -> Skin:
    total = identity.african + identity.asian + identity.european
    center = (0.80 * identity.african + 0.32 * identity.asian + 0.18 * identity.european) / total
    tone = float(np.clip(center + 0.10 * rng.standard_normal(), 0.02, 0.98))
    woman = identity.masculine < 0.45 and identity.age_years > 16
    man = identity.masculine > 0.6 and identity.age_years > 18
    reds = ((0.62, 0.13, 0.18), (0.75, 0.30, 0.33), (0.45, 0.08, 0.14), (0.80, 0.42, 0.38))
    return Skin(
        tone=_rounded(tone),
        ruddy=_rounded(rng.uniform(0.2, 0.9)),
        freckles=_rounded(rng.uniform(0.4, 1.0)) if tone < 0.2 and rng.random() < 0.25 else 0.0,
        moles=int(rng.integers(0, 5)),
        stubble=_rounded(rng.uniform(0.2, 0.9)) if man and rng.random() < 0.5 else 0.0,
        lipstick=_rounded(rng.uniform(0.2, 0.9)) if woman and rng.random() < 0.55 else 0.0,
        lipstick_color=reds[rng.integers(len(reds))],
        eye_shadow=_rounded(rng.uniform(0.2, 0.8)) if woman and rng.random() < 0.4 else 0.0,
    )


def _hair(rng: np.random.Generator, identity: Identity, tone: float) -> Hair:
    old = np.clip((identity.age_years - 40) / 40, 0, 1)
    man = identity.masculine > 0.5
    styles = {style: 1.0 for style in (_SHORT if man else _LONG)}
    if identity.african > 0.5:
        styles = {style: 1.0 for style in _COILED}
    styles |= {"bald": 0.25 + 1.5 * old if man else 0.04, "mohawk": 0.12}
    if man:
        styles |= {"long": 0.2, "dreads": 0.15, "pixie": 0.3, "bun": 0.15}
    if tone > 0.5 or identity.asian > 0.5:
        colors = {"black": 5.0, "dark_brown": 2.0, "brown": 0.3}
    else:
        colors = {
            "black": 0.8,
            "dark_brown": 1.5,
            "brown": 1.5,
            "light_brown": 1.2,
            "dark_blond": 1.0,
            "blond": 1.2,
            "platinum": 0.3,
            "auburn": 0.7,
            "red": 0.6,
        }
    if identity.age_years > 62:
        colors = {"grey": 1.0, "white": 1.0, "brown": 0.4, "black": 0.4}
    elif rng.random() < 0.04:
        colors = {"pink": 1.0, "blue": 1.0, "teal": 1.0}
    return Hair(
        style=_pick(rng, styles),
        color=_pick(rng, colors),
        length=_rounded(rng.uniform(0.3, 0.7)),
        volume=_rounded(rng.uniform(0.25, 0.8)),
        part=_rounded(rng.choice((-1, 1)) * rng.uniform(0.05, 0.95)),
        hairline=_rounded(old * rng.uniform(0.2, 1.0) if man else 0.1 * rng.random()),
        grey=_rounded(np.clip(old * rng.uniform(0.1, 1.2), 0, 1)),
    )


def _eyes(rng: np.random.Generator, identity: Identity, tone: float) -> Eyes:
    fair = tone < 0.35 and identity.asian < 0.5
    colors = (
        {"dark": 0.3, "brown": 1.0, "amber": 0.4, "hazel": 0.8, "green": 0.8, "blue": 1.2,
         "light_blue": 0.7, "grey": 0.6}
        if fair
        else {"dark": 1.5, "brown": 1.5, "amber": 0.3}
    )  # fmt: skip
    return Eyes(
        color=_pick(rng, colors),
        iris_size=_rounded(rng.uniform(0.25, 0.75)),
        lashes=_rounded(
            np.clip(0.65 - 0.4 * identity.masculine + 0.15 * rng.standard_normal(), 0, 1)
        ),
        brow_thickness=_rounded(
            np.clip(0.15 + 0.55 * identity.masculine + 0.2 * rng.standard_normal(), 0, 1)
        ),
        brow_arch=_rounded(
            np.clip(0.75 - 0.5 * identity.masculine + 0.25 * rng.standard_normal(), 0, 1)
        ),
        brow_darkness=_rounded(rng.uniform(0.2, 0.8)),
    )


def _beard(rng: np.random.Generator, identity: Identity) -> Beard:
    if identity.masculine < 0.6 or identity.age_years < 20 or rng.random() < 0.55:
        return Beard()
    style = _pick(rng, {"moustache": 0.8, "goatee": 0.8, "short": 1.4, "full": 1.0})
    return Beard(style, _rounded(rng.uniform(0.25, 0.8)))


def sample_accessory(rng: np.random.Generator) -> Accessory:
    """Draw one accessory of any kind."""
    kind = str(rng.choice(names.ACCESSORIES))
    sides: tuple[Side, ...] = ("left", "right", "both", "both")
    side = sides[rng.integers(len(sides))]
    return Accessory(
        kind, _color(rng, 0.9), (0.78, 0.60, 0.28), side, _rounded(rng.uniform(0.1, 0.9))
    )


def sample_head(seed: int, *, accessories: bool = False, expressions: bool = False) -> HeadSpec:
    """Draw a head; the same seed always gives the same spec.

    Args:
        seed: of the draw and of the head's own details.
        accessories: also draw up to two accessories.
        expressions: also draw an expression; otherwise the face is neutral.
    """
    rng = stream(seed, "spec")
    identity = sample_identity(rng)
    skin = _skin(rng, identity)
    hair = _hair(rng, identity, skin.tone)
    eyes = _eyes(rng, identity, skin.tone)
    beard = _beard(rng, identity)
    clothes = Clothes(str(rng.choice(names.CLOTHES_STYLES)), _color(rng), _color(rng, 0.3))
    lighting = Lighting(
        _pick(rng, {"studio": 4.0, "soft": 3.0, "window": 1.0, "overcast": 1.0, "rembrandt": 0.7,
                    "noon": 0.5, "sunset": 0.5}),
        _rounded(rng.uniform(-25, 25)),
    )  # fmt: skip
    worn: tuple[Accessory, ...] = ()
    if accessories:
        first, second = sample_accessory(rng), sample_accessory(rng)
        worn = (first,)
        clash = {first.kind, second.kind} <= {*names.HEADWEAR, "headphones", "headband"}
        eyes_twice = {first.kind, second.kind} <= {"glasses", "sunglasses"}
        if rng.random() < 0.4 and not clash and not eyes_twice and second.kind != first.kind:
            worn = (first, second)
    expression = Expression()
    if expressions:
        expression = Expression(str(rng.choice(names.EXPRESSIONS)), _rounded(rng.uniform(0.6, 1.0)))
    return HeadSpec(
        seed=seed,
        identity=identity,
        skin=skin,
        eyes=eyes,
        hair=hair,
        beard=beard,
        clothes=clothes,
        expression=expression,
        accessories=worn,
        lighting=lighting,
    )
