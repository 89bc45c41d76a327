"""From an ``Identity`` to base vertices: MakeHuman's macro targets and named local controls."""

import itertools

import numpy as np

from any3davatar.anyhead.heads.meshes import Array
from any3davatar.anyhead.heads.spec import HeadSpec, Identity
from any3davatar.anyhead.heads.template import Template

_AGE_KNOTS_YEARS = {"child": 10.0, "young": 25.0, "old": 85.0}

# control: (targets at +1, targets at -1, displacement scale); {s} stands for both sides. The
# scales keep the sum of several strong controls a plausible face.
_PAIRS: dict[str, tuple[str, str, str, float]] = {
    "face_width": ("head/head-scale-horiz", "incr", "decr", 0.7),
    "face_height": ("head/head-scale-vert", "incr", "decr", 0.55),
    "head_depth": ("head/head-scale-depth", "incr", "decr", 0.4),
    "head_back": ("head/head-back-scale-depth", "incr", "decr", 0.5),
    "face_fat": ("head/head-fat", "incr", "decr", 0.6),
    "forehead_height": ("forehead/forehead-scale-vert", "incr", "decr", 0.7),
    "forehead_bulge": ("forehead/forehead-nubian", "incr", "decr", 0.5),
    "temple_width": ("forehead/forehead-temple", "incr", "decr", 0.6),
    "nose_width": ("nose/nose-scale-horiz", "incr", "decr", 0.9),
    "nose_height": ("nose/nose-scale-vert", "incr", "decr", 0.8),
    "nose_depth": ("nose/nose-scale-depth", "incr", "decr", 0.8),
    "nose_hump": ("nose/nose-hump", "incr", "decr", 0.9),
    "nose_volume": ("nose/nose-volume", "incr", "decr", 0.8),
    "nose_bridge_width": ("nose/nose-width1", "incr", "decr", 0.8),
    "nose_base_width": ("nose/nose-width3", "incr", "decr", 0.8),
    "nose_flaring": ("nose/nose-flaring", "incr", "decr", 0.8),
    "nose_tip_width": ("nose/nose-point-width", "incr", "decr", 0.8),
    "nose_tip_up": ("nose/nose-point", "up", "down", 0.8),
    "nose_base_up": ("nose/nose-base", "up", "down", 0.6),
    "nose_curve": ("nose/nose-curve", "convex", "concave", 0.8),
    "nose_greek": ("nose/nose-greek", "incr", "decr", 0.5),
    "nose_septum": ("nose/nose-septumangle", "incr", "decr", 0.6),
    "mouth_width": ("mouth/mouth-scale-horiz", "incr", "decr", 0.8),
    "mouth_height": ("mouth/mouth-scale-vert", "incr", "decr", 0.6),
    "upper_lip_volume": ("mouth/mouth-upperlip-volume", "incr", "decr", 0.8),
    "lower_lip_volume": ("mouth/mouth-lowerlip-volume", "incr", "decr", 0.8),
    "upper_lip_height": ("mouth/mouth-upperlip-height", "incr", "decr", 0.7),
    "lower_lip_height": ("mouth/mouth-lowerlip-height", "incr", "decr", 0.7),
    "cupids_bow": ("mouth/mouth-cupidsbow", "incr", "decr", 0.8),
    "philtrum": ("mouth/mouth-philtrum-volume", "incr", "decr", 0.5),
    "mouth_up": ("mouth/mouth-trans", "up", "down", 0.4),
    "mouth_corners_up": ("mouth/mouth-angles", "up", "down", 0.35),
    "mouth_depth": ("mouth/mouth-scale-depth", "incr", "decr", 0.4),
    "dimples": ("mouth/mouth-dimples", "in", "out", 0.6),
    "laugh_lines": ("mouth/mouth-laugh-lines", "in", "out", 0.6),
    "chin_width": ("chin/chin-width", "incr", "decr", 0.9),
    "chin_height": ("chin/chin-height", "incr", "decr", 0.6),
    "chin_prominence": ("chin/chin-prominent", "incr", "decr", 0.7),
    "jaw_bones": ("chin/chin-bones", "incr", "decr", 0.7),
    "jaw_drop": ("chin/chin-jaw-drop", "incr", "decr", 0.6),
    "prognathism": ("chin/chin-prognathism", "incr", "decr", 0.4),
    "chin_cleft": ("chin/chin-cleft", "incr", "decr", 0.5),
    "double_chin": ("neck/neck-double", "incr", "decr", 0.4),
    "neck_thickness": ("neck/neck-scale-horiz", "incr", "decr", 0.5),
    "cheek_bones": ("cheek/{s}-cheek-bones", "incr", "decr", 0.8),
    "cheek_volume": ("cheek/{s}-cheek-volume", "incr", "decr", 0.8),
    "cheek_hollow": ("cheek/{s}-cheek-inner", "decr", "incr", 0.6),
    "cheek_height": ("cheek/{s}-cheek-trans", "up", "down", 0.6),
    "eye_size": ("eyes/{s}-eye-scale", "incr", "decr", 0.75),
    "eye_openness": ("eyes/{s}-eye-height2", "incr", "decr", 0.5),
    "eye_bags": ("eyes/{s}-eye-bag", "incr", "decr", 0.6),
    "eye_distance": ("eyes/{s}-eye-trans", "out", "in", 0.8),
    "eye_depth": ("eyes/{s}-eye-push1", "in", "out", 0.4),
    "eye_height": ("eyes/{s}-eye-trans", "up", "down", 0.3),
    "eye_inner_up": ("eyes/{s}-eye-corner1", "up", "down", 0.6),
    "eye_outer_up": ("eyes/{s}-eye-corner2", "up", "down", 0.7),
    "eye_fold": ("eyes/{s}-eye-eyefold", "down", "up", 0.5),
    "eye_epicanthus": ("eyes/{s}-eye-epicanthus", "in", "out", 0.5),
    "brow_angle": ("eyebrows/eyebrows-angle", "up", "down", 0.3),
    "brow_height": ("eyebrows/eyebrows-trans", "up", "down", 0.7),
    "brow_ridge": ("eyebrows/eyebrows-trans", "forward", "backward", 0.5),
    "ear_size": ("ears/{s}-ear-scale", "incr", "decr", 0.6),
    "ear_wing": ("ears/{s}-ear-wing", "incr", "decr", 0.6),
    "ear_lobe": ("ears/{s}-ear-lobe", "incr", "decr", 0.6),
    "ear_rotation": ("ears/{s}-ear-rot", "backward", "forward", 0.5),
}
_ONE_SIDED = {
    "face_oval": "head/head-oval",
    "face_round": "head/head-round",
    "face_square": "head/head-square",
    "face_triangular": "head/head-triangular",
    "face_diamond": "head/head-diamond",
    "face_rectangular": "head/head-rectangular",
    "face_heart": "head/head-invertedtriangular",
    "ear_pointed": "ears/{s}-ear-shape-pointed",
}
CONTROLS = (*_PAIRS, *_ONE_SIDED)


def _target_of(control: str, value: float) -> tuple[str, float]:
    if control in _ONE_SIDED:
        return _ONE_SIDED[control], max(value, 0.0)
    stem, plus, minus, scale = _PAIRS[control]
    return f"{stem}-{plus if value > 0 else minus}", scale * abs(value)


def _both_sides(target: str) -> list[str]:
    return [target.format(s=side) for side in "lr"] if "{s}" in target else [target]


def local_weights(identity: Identity) -> list[tuple[str, float]]:
    """Return target weights of the named shape controls."""
    weights = []
    for control, value in identity.shape:
        target, weight = _target_of(control, value)
        weights += [(name, weight) for name in _both_sides(target) if weight > 0]
    return weights


def macro_weights(identity: Identity) -> list[tuple[str, float]]:
    """Return multilinear target weights of gender, age, ancestry, weight and muscle."""

    def hat(value: float, knots: dict[str, float]) -> dict[str, float]:
        places = list(knots.values())
        unit_rows = np.eye(len(places))
        return {
            name: float(np.interp(value, places, row))
            for name, row in zip(knots, unit_rows, strict=True)
        }

    genders = {"male": identity.masculine, "female": 1 - identity.masculine}
    ages = hat(identity.age_years, _AGE_KNOTS_YEARS)
    total = identity.african + identity.asian + identity.european
    ancestries = {
        "african": identity.african / total,
        "asian": identity.asian / total,
        "caucasian": identity.european / total,
    }
    muscles = hat(identity.muscle, {"minmuscle": 0.0, "averagemuscle": 0.5, "maxmuscle": 1.0})
    masses = hat(identity.weight, {"minweight": 0.0, "averageweight": 0.5, "maxweight": 1.0})
    weights = [
        (f"macrodetails/{ancestry}-{gender}-{age}", share * g * a)
        for (ancestry, share), (gender, g), (age, a) in itertools.product(
            ancestries.items(), genders.items(), ages.items()
        )
    ]
    weights += [
        (f"macrodetails/universal-{gender}-{age}-{muscle}-{mass}", g * a * m * w)
        for (gender, g), (age, a), (muscle, m), (mass, w) in itertools.product(
            genders.items(), ages.items(), muscles.items(), masses.items()
        )
    ]
    return [(name, weight) for name, weight in weights if weight > 0]


def neutral_base(
    spec: HeadSpec, template: Template, exaggeration: tuple[tuple[str, float], ...]
) -> Array:
    """Return the base vertices of the head without expression; (19158, 3) decimetres."""
    # MakeHuman's neutral mouth turns down; lifting its corners a little reads as relaxed.
    relaxed = [("mouth/mouth-angles-up", 0.35)]
    return template.displaced(
        [*macro_weights(spec.identity), *local_weights(spec.identity), *relaxed, *exaggeration]
    )
