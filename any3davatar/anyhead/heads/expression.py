"""Named expressions as weights of the 52 ARKit-named face units."""

from any3davatar.anyhead.heads.meshes import Array
from any3davatar.anyhead.heads.spec import Expression
from any3davatar.anyhead.heads.template import Template


def _both(**weights: float) -> dict[str, float]:
    return {f"{unit}{side}": w for unit, w in weights.items() for side in ("Left", "Right")}


EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": _both(mouthSmile=0.65, cheekSquint=0.35, eyeSquint=0.15, mouthDimple=0.2),
    "grin": {
        **_both(mouthSmile=0.85, cheekSquint=0.5, mouthUpperUp=0.45, mouthLowerDown=0.4),
        **_both(eyeSquint=0.25),
        "jawOpen": 0.06,
    },
    "laugh": {
        **_both(mouthSmile=0.9, cheekSquint=0.7, mouthUpperUp=0.5, eyeSquint=0.45),
        **_both(mouthLowerDown=0.2),
        "jawOpen": 0.5,
    },
    "open": {**_both(mouthUpperUp=0.4, mouthLowerDown=0.2), "jawOpen": 0.65, "browInnerUp": 0.15},
    "surprise": {
        **_both(eyeWide=0.7, browOuterUp=0.8, mouthUpperUp=0.2),
        "jawOpen": 0.45,
        "browInnerUp": 0.8,
        "mouthFunnel": 0.25,
    },
    "frown": {**_both(browDown=0.8, mouthFrown=0.7), "mouthShrugLower": 0.4},
    "anger": {
        **_both(browDown=1.0, noseSneer=0.6, eyeSquint=0.35, mouthUpperUp=0.35),
        **_both(mouthLowerDown=0.45, mouthStretch=0.3),
        "jawOpen": 0.12,
    },
    "sad": {**_both(mouthFrown=0.6, eyeLookDown=0.3), "browInnerUp": 0.9, "mouthShrugLower": 0.3},
    "disgust": {**_both(noseSneer=1.0, mouthUpperUp=0.5, browDown=0.5, eyeSquint=0.4)},
    "fear": {
        **_both(eyeWide=0.9, mouthStretch=0.6, mouthLowerDown=0.2),
        "browInnerUp": 1.0,
        "jawOpen": 0.2,
    },
    "blink": _both(eyeBlink=1.0),
    "wink": {
        "eyeBlinkLeft": 1.0,
        "cheekSquintLeft": 0.6,
        "mouthSmileLeft": 0.7,
        "mouthSmileRight": 0.3,
    },
    "pucker": {"mouthPucker": 0.9},
    "smirk": {"mouthSmileRight": 0.8, "mouthDimpleRight": 0.4, "browOuterUpRight": 0.5},
    "puff": {"cheekPuff": 1.0, **_both(mouthPress=0.4)},
    "tongue": {"tongueOut": 1.0, "jawOpen": 0.4, **_both(eyeSquint=0.2, mouthSmile=0.3)},
    "squint": {**_both(eyeSquint=0.9, cheekSquint=0.5, browDown=0.35)},
    "look_left": {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8},
    "look_right": {"eyeLookInLeft": 0.8, "eyeLookOutRight": 0.8},
    "look_up": {**_both(eyeLookUp=0.8), "browInnerUp": 0.3},
    "talk": {"jawOpen": 0.22, "mouthFunnel": 0.35, **_both(mouthUpperUp=0.2)},
}


_AWAKE = 0.16  # eyeWide of a relaxed face: the base mesh's lids cover half the pupil


def unit_weights(expression: Expression) -> dict[str, float]:
    """Return the weight of every face unit the expression uses, open lids included."""
    named = {
        unit: weight * expression.strength for unit, weight in EXPRESSIONS[expression.name].items()
    }
    weights = named | dict(expression.units)
    for side in ("Left", "Right"):
        closed = weights.get(f"eyeBlink{side}", 0.0)
        weights[f"eyeWide{side}"] = weights.get(f"eyeWide{side}", 0.0) + _AWAKE * (1 - closed)
    return weights


def express(base: Array, expression: Expression, template: Template) -> Array:
    """Add an expression to neutral base vertices; teeth and tongue move with the jaw."""
    moved = base.astype("float64")
    for unit, weight in unit_weights(expression).items():
        target = template.targets[f"faceunits/{unit}"]
        moved[target.vertices] += weight * target.offsets
    return moved.astype(base.dtype)
