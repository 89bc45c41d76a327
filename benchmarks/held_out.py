"""How weights of a small network do on heads of a data set's split; prints one JSON object.

``python -m benchmarks.held_out WEIGHTS [WEIGHTS...] --data DATA [--data DATA...] [--heads 200]``

One head a person, evenly spread, each from the same views for all weights: drawn among those that
training may compare, without the portrait's own. Besides PSNR and LPIPS it tells

* ``error_shares``: of the squared error of colours, what lies where the alpha of truth and
  prediction differ by more than `OUTLINE_ALPHA` (``outline``; ``psnr_db_with_true_outline`` leaves
  it out); of the rest what stays in a mean over five by five pixels (``smooth``), and what does
  not (``detail``);
* ``places``: how far the places of a patch lie apart in what they do on a head, the root of the
  mean of `any3davatar.train.losses.place_variances` over heads. What a place does on every head is
  a streak.
"""

import argparse
import json
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from a3d_bench.types import STRATA, stratum_of
from any3davatar.anyhead.readers import AnyHead, GroupEntry
from any3davatar.anyhead.splits import SPLIT_NAMES, Split
from any3davatar.core.cameras import Cameras
from any3davatar.core.gaussians import Gaussians
from any3davatar.core.images import Views
from any3davatar.core.rigs import angles_of
from any3davatar.model import Any3DAvatar, load_weights
from any3davatar.model.embed import network_input
from any3davatar.render import render
from any3davatar.sampling import one_step
from any3davatar.train.config import TRAIN_PRESETS
from any3davatar.train.hull import evenly
from any3davatar.train.losses import place_variances
from any3davatar.train.perceptual import Perceptual, load_perceptual
from any3davatar.train.pictures import psnr_db
from any3davatar.train.run_folder import one_a_subject
from any3davatar.train.samples import read_framed, target_candidates

PRESET = "mini"
CONFIG = TRAIN_PRESETS[PRESET]
BACKGROUND = torch.tensor(CONFIG.background)
OUTLINE_ALPHA = 0.1
SMOOTH_PX = 5


@dataclass(frozen=True, eq=False)
class HeldOutHead:
    """A head in the framing of `mini`.

    Attributes:
        group: of the data set.
        portrait: (1,).
        portrait_camera: (1,).
        truth: (V,) views besides the portrait.
        cameras: (V,).
    """

    group: GroupEntry
    portrait: Views
    portrait_camera: Cameras
    truth: Views
    cameras: Cameras


@dataclass(frozen=True)
class Row:
    """What a network's prediction of one head scored; PSNR and LPIPS are means over its views."""

    id: str
    worn: tuple[str, ...]
    psnr_db: float
    psnr_db_with_true_outline: float
    lpips: float
    psnr_db_by_stratum: Mapping[str, float]
    error_parts: Mapping[str, float]
    place_variances: Mapping[str, float]


def chosen(roots: Iterable[Path], split: Split, count: int) -> list[GroupEntry]:
    """Return one group a person of a split, evenly spread."""
    groups = [group for root in roots for group in AnyHead(root, split=split).groups]
    return evenly(one_a_subject(groups), count)


def framed_like_mini(path: Path) -> Any3DAvatar:
    """Load weights that see heads as `mini` does, whatever its switches."""
    model = load_weights(path).eval()
    ours, theirs = (
        (config.size_px, config.vertical_fov_deg) for config in (CONFIG.model, model.config)
    )
    if theirs != ours:
        sys.exit(
            f"{path}: got a network of {theirs[0]} pixels and {theirs[1]:g} degrees, expected "
            f"{ours[0]} and {ours[1]:g}, as {PRESET}"
        )
    return model


def read(group: GroupEntry, views: int) -> HeldOutHead:
    """Read a head and as many of its views by lot: the same for the same id."""
    capture = group.capture()
    allowed = [v for v in target_candidates(capture, CONFIG) if v != capture.input_view]
    drawn = random.Random(group.id).sample(allowed, min(views, len(allowed)))
    pictures, cameras = read_framed(
        capture,
        [capture.input_view, *drawn],
        BACKGROUND,
        size_px=CONFIG.model.size_px,
        vertical_fov_deg=CONFIG.model.vertical_fov_deg,
    )
    return HeldOutHead(group, pictures[:1], cameras[:1], pictures[1:], cameras[1:])


def predicted(
    model: Any3DAvatar, portrait: Views, portrait_camera: Cameras, cameras: Cameras
) -> tuple[Gaussians, Views]:
    """Return the (1, N) Gaussians that the network makes of a portrait, and their views.

    Args:
        model: the network.
        portrait: (1,) framed as the network expects it.
        portrait_camera: (1,).
        cameras: (V,) of the views.
    """
    generator = torch.Generator().manual_seed(0)
    seen = network_input(portrait, model.config)
    gaussians = one_step(model, seen, portrait_camera.plucker(), generator=generator)
    with torch.no_grad():
        rendered = render(gaussians, cameras.reshape(1, -1), BACKGROUND)
    return gaussians, Views(rendered.rgb[0].clamp(0, 1), rendered.alpha[0])


def outline(ours: Views, truth: Views) -> Bool[Tensor, "V 1 H W"]:
    """Return where one has something and the other hasn't."""
    return (ours.alpha - truth.alpha).abs() > OUTLINE_ALPHA


def error_parts(ours: Views, truth: Views) -> dict[str, float]:
    """Return sums of squared errors of colours, told apart as the module says.

    Args:
        ours: (V,).
        truth: (V,), over the same background.
    """
    error = ours.rgb - truth.rgb  # (V, 3, H, W)
    inside = (~outline(ours, truth)).to(error.dtype)  # (V, 1, H, W)
    around = F.avg_pool2d(torch.cat([error * inside, inside], 1), SMOOTH_PX, 1, SMOOTH_PX // 2)
    kept = inside * around[:, :3] / around[:, 3:].clamp_min(1e-6)
    within, smooth = float((inside * error.square()).sum()), float(kept.square().sum())
    return {
        "outline": float(error.square().sum()) - within,
        "smooth": smooth,
        "detail": within - smooth,
    }


def measured(model: Any3DAvatar, head: HeldOutHead, perceptual: Perceptual) -> Row:
    """Score a network's prediction of one head."""
    gaussians, ours = predicted(model, head.portrait, head.portrait_camera, head.cameras)
    truth = head.truth
    scores = psnr_db(ours.rgb[None], truth.rgb[None])[0].tolist()
    traced = torch.where(outline(ours, truth), truth.rgb, ours.rgb)
    by_stratum = defaultdict[str, list[float]](list)
    for score, azimuth in zip(scores, angles_of(head.cameras.centers)[0].tolist(), strict=True):
        by_stratum[stratum_of(azimuth)].append(score)
    with torch.no_grad():
        distance = float(perceptual(ours.rgb, truth.rgb).mean())
    return Row(
        id=head.group.id,
        worn=head.group.record.accessories,
        psnr_db=statistics.fmean(scores),
        psnr_db_with_true_outline=float(psnr_db(traced[None], truth.rgb[None]).mean()),
        lpips=distance,
        psnr_db_by_stratum={name: statistics.fmean(each) for name, each in by_stratum.items()},
        error_parts=error_parts(ours, truth),
        place_variances={
            name: float(each) for name, each in place_variances(gaussians, model.config).items()
        },
    )


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return means over heads, and each head's own scores."""

    def mean(values: Iterable[float], digits: int = 2) -> float | None:
        given = list(values)
        return round(statistics.fmean(given), digits) if given else None

    parts = {name: sum(row.error_parts[name] for row in rows) for name in rows[0].error_parts}
    whole = sum(parts.values())
    return {
        "psnr_db": mean(row.psnr_db for row in rows),
        "lpips": mean((row.lpips for row in rows), 4),
        "psnr_db_by_stratum": {
            name: mean(
                row.psnr_db_by_stratum[name] for row in rows if name in row.psnr_db_by_stratum
            )
            for name in STRATA
        },
        "psnr_db_bare": mean(row.psnr_db for row in rows if not row.worn),
        "psnr_db_dressed": mean(row.psnr_db for row in rows if row.worn),
        "psnr_db_by_thing_worn": {
            kind: {"heads": len(scores), "psnr_db": mean(scores)}
            for kind in sorted({kind for row in rows for kind in row.worn})
            if (scores := [row.psnr_db for row in rows if kind in row.worn])
        },
        "psnr_db_with_true_outline": mean(row.psnr_db_with_true_outline for row in rows),
        "error_shares": {name: round(part / whole, 3) for name, part in parts.items()},
        "places": {
            name: round(statistics.fmean(row.place_variances[name] for row in rows) ** 0.5, 4)
            for name in rows[0].place_variances
        },
        "by_head": [
            {
                "id": row.id,
                "worn": row.worn,
                "psnr_db": round(row.psnr_db, 2),
                "lpips": round(row.lpips, 4),
            }
            for row in rows
        ],
    }


def main() -> None:
    """Print what each of the weights does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, nargs="+", help="of networks that see as a mini")
    parser.add_argument(
        "--data", type=Path, action="append", required=True,
        help="root of an AnyHead data set with SPLITS.json; again for more",
    )  # fmt: skip
    parser.add_argument("--split", choices=SPLIT_NAMES, default="validation")
    parser.add_argument("--heads", type=int, default=200, help="at most")
    parser.add_argument("--views", type=int, default=10, help="of each head, at most")
    options = parser.parse_args()
    groups = chosen(options.data, options.split, options.heads)
    if not groups:
        where = ", ".join(map(str, options.data))
        sys.exit(f"{where}: got no head in split {options.split}, expected at least one")
    heads = [read(group, options.views) for group in groups]
    perceptual = load_perceptual(CONFIG.model.size_px)
    made = {}
    for path in options.weights:
        model = framed_like_mini(path)
        made[str(path)] = summary([measured(model, head, perceptual) for head in heads])
    about = {"split": options.split, "heads": len(heads), "views": options.views}
    print(json.dumps({**about, "weights": made}, indent=1))


if __name__ == "__main__":
    main()
