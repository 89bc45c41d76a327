"""How much of a head its portrait leaves open, at the size of `mini`; prints one JSON object.

``python -m benchmarks.ambiguity [--persons 20] [--twins 8] [--checkpoint WEIGHTS]``

A *twin* of a person shares what a portrait shows, and is drawn anew in what it hides: the depth of
skull, nose, brow and chin, where each hair grows, and for hair that is tied behind whether it is a
bun or a tail, and how long. The mean of the twins' pictures is the guess of somebody who knows all
the rest. It is no strict bound: locks that grow elsewhere show in front too (``portrait``), which
makes the guess worse than it need be, while the rest, of which a portrait tells only something,
makes it better. A mean of K twins scores 10 log10(1 + 1/K) dB less than that of very many would,
half a dB for eight, where twins differ from each other as they do from the person.

The network is scored on the same views of the same persons. Its own training set may have them:
``--first-seed`` should be one that no training used.
"""

import argparse
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead import people
from any3davatar.anyhead.heads import HeadSpec
from any3davatar.anyhead.heads.sampling import sample_identity
from any3davatar.anyhead.rigs import Rig, make_rig
from any3davatar.anyhead.subsets.digital_human import DigitalHumans, Drawing
from any3davatar.core.cameras import Cameras
from any3davatar.core.framing import framed
from any3davatar.core.images import Views
from any3davatar.core.rigs import angles_of
from any3davatar.model import Any3DAvatar, load_weights
from any3davatar.reconstruct import SHIPPED
from any3davatar.train.config import TRAIN_PRESETS
from any3davatar.train.pictures import psnr_db
from benchmarks.held_out import predicted

CONFIG = TRAIN_PRESETS["mini"]
# The training data of `mini` (docs/training.md).
RECIPE = DigitalHumans(
    Drawing(size_px=160), rig="digital40", expressions=1, worn_share=0.5, draft=True
)
FIRST_SEED = 1_300_000
VIEWS = 12
SIDE_DEG = (60.0, 120.0)
HIDDEN_SHAPES = (
    "head_depth", "head_back", "forehead_bulge", "eye_depth", "nose_depth", "nose_hump",
    "nose_volume", "chin_prominence", "prognathism", "double_chin",
)  # fmt: skip
TIED_BEHIND = ("bun", "ponytail")


def person_of(seed: int) -> HeadSpec:
    """Return the person that a training set has under this seed."""
    (person,) = RECIPE.conditions(seed).values()
    return person


def twin_of(person: HeadSpec, rng: np.random.Generator) -> HeadSpec:
    """Return somebody who looks like a person from the front, nearly."""
    drawn = dict(sample_identity(rng).shape)
    kept = {name: value for name, value in person.identity.shape if name not in HIDDEN_SHAPES}
    hidden = {name: drawn[name] for name in HIDDEN_SHAPES if name in drawn}
    hair = person.hair
    if hair.style in TIED_BEHIND:
        tied = str(rng.choice(TIED_BEHIND))
        hair = replace(hair, style=tied, length=round(float(rng.uniform(0.3, 0.7)), 3))
    return replace(
        person,
        seed=int(rng.integers(1 << 40)),
        identity=replace(person.identity, shape=tuple((kept | hidden).items())),
        hair=hair,
    )


def pictures(person: HeadSpec, rig: Rig, at: Sequence[int]) -> tuple[Views, Cameras]:
    """Draw a person from some of a rig's cameras, framed as the network sees them."""
    drawn_from = people.drawer(person, RECIPE.drawing.supersampling, draft=RECIPE.draft)
    made = [
        framed(
            drawn_from(rig.cameras[i : i + 1])[0],
            rig.cameras[i],
            torch.tensor(CONFIG.background),
            size_px=CONFIG.model.size_px,
            vertical_fov_deg=CONFIG.model.vertical_fov_deg,
        )
        for i in at
    ]
    views, cameras = zip(*made, strict=True)
    return (
        Views(torch.stack([v.rgb for v in views]), torch.stack([v.alpha for v in views])),
        Cameras.concatenate([camera.reshape(1) for camera in cameras]),
    )


def views_of(rig: Rig, seed: int) -> list[int]:
    """Return the portrait and some views to compare, at the distances of training."""
    distance = rig.cameras.centers.norm(dim=-1)
    fits = (distance >= CONFIG.target_distance_min) & (distance <= CONFIG.target_distance_max)
    others = [i for i in fits.nonzero()[:, 0].tolist() if i != rig.input_view]
    return [rig.input_view, *random.Random(seed).sample(others, VIEWS)]


def by_angle(scores: Float[Tensor, "V"], cameras: Cameras) -> dict[str, float]:
    """Return means: of the portrait's own view, of all others, and of those from the side."""
    azimuth = angles_of(cameras.centers)[0].abs()[1:]
    others = scores[1:]
    side = others[(azimuth >= SIDE_DEG[0]) & (azimuth <= SIDE_DEG[1])]
    found = {"portrait": scores[:1], "others": others, "side": side}
    return {name: round(float(part.mean()), 2) for name, part in found.items() if len(part)}


def measured(seed: int, twins: int, model: Any3DAvatar) -> dict[str, Any]:
    """Score the mean of a person's twins, one of them, and the network."""
    person, rig = person_of(seed), make_rig(RECIPE.rig, RECIPE.drawing.size_px, seed)
    at = views_of(rig, seed)
    truth, cameras = pictures(person, rig, at)
    rng = np.random.default_rng(seed)
    drawn = torch.stack([pictures(twin_of(person, rng), rig, at)[0].rgb for _ in range(twins)])
    guesses = {
        "mean_of_twins": drawn.mean(dim=0),
        "one_twin": drawn[0],
        "network": predicted(model, truth[:1], cameras[:1], cameras)[1].rgb,
    }
    return {
        "seed": seed,
        "hair": person.hair.style,
        "worn": [accessory.kind for accessory in person.accessories],
        **{
            k: by_angle(psnr_db(guess[None], truth.rgb[None])[0], cameras)
            for k, guess in guesses.items()
        },
    }


def means(rows: Sequence[Mapping[str, Any]], guess: str) -> dict[str, float]:
    """Return a guess's means over persons."""
    return {
        name: round(statistics.fmean(row[guess][name] for row in rows if name in row[guess]), 2)
        for name in ("portrait", "others", "side")
    }


def main() -> None:
    """Print the scores of each person and their means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=20)
    parser.add_argument("--twins", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED, help="weights of a mini")
    options = parser.parse_args()
    model = load_weights(options.checkpoint, expected=CONFIG.model).eval()
    seeds = range(options.first_seed, options.first_seed + options.persons)
    rows = [measured(seed, options.twins, model) for seed in seeds]
    guesses = ("mean_of_twins", "one_twin", "network")
    summary = {"psnr_db": {guess: means(rows, guess) for guess in guesses}}
    print(json.dumps({"twins": options.twins, **summary, "persons": rows}, indent=1))


if __name__ == "__main__":
    main()
