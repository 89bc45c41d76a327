"""How the mean head of a training set follows a portrait: reduced-rank kernel ridge regression.

From the `features` of a portrait, its coarse silhouette, colours and texture, to what the canonical
views hold: opacity, depth and colour. Ridge regression from these features and from `hull_waves`
random waves over them gives the guess; its `hull_ways` principal directions over the training set
are the ways that a `Hull` carries. It takes the set once, in minutes, and no gradient; the network
learns what it leaves over.

Depth of a head: its own visual hull, from the silhouettes of its own views.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead.readers import GroupEntry, HeadCapture
from any3davatar.core.rigs import canonical_four
from any3davatar.model import Hull
from any3davatar.model.config import VIEWS, ModelConfig
from any3davatar.model.embed import network_input
from any3davatar.model.scaffold import no_ways
from any3davatar.model.start import FRONT, features, mirrored, waves
from any3davatar.train.config import TrainConfig
from any3davatar.train.hull import COVERED, REACH_USED, carve, evenly, read_each, read_whole
from any3davatar.train.samples import MIRRORED_CANONICAL, canonical_indices, read_framed

RIDGE = 20.0  # 3 is 0.1 dB better on unseen heads, but knows those of the set much better still
WAVE_LENGTH = 3.0  # squared distances, in medians of the set, at which the kernel falls to 1 / e
APART_MIN = 0.1  # squared distance of portraits that differ in next to nothing
MEDIAN_OF = 500  # heads whose distances stand for all
HULL_VIEWS = 16  # silhouettes that a head's own hull is carved from, the canonical four among them
HULL_STEPS = 64


def with_ways(
    hull: Hull,
    groups: Sequence[GroupEntry],
    config: TrainConfig,
    on_group: Callable[[], None] | None = None,
) -> Hull:
    """Return a mean head that follows portraits as `config.ways_groups` of `groups` do.

    With ``config.ways_groups_before`` it does as these and the groups of before do together.

    Args:
        hull: the mean head, with the ways of before if there were any.
        groups: the training set.
        config: the run; with ``flip`` each head counts as its mirror image too.
        on_group: called when a group's turn comes, from any of the threads that read.

    Raises:
        DataError: as in `any3davatar.train.hull.mean_hull`.
    """
    model = config.model
    mean = _coarse(hull)
    chosen = evenly(groups, config.ways_groups)

    def see(group: GroupEntry) -> _Example:
        if on_group is not None:
            on_group()
        return _example(group.capture(), mean, config)

    examples = read_each(chosen, config, see)
    read = torch.cat([example.features for example in examples])
    change = torch.cat([example.views for example in examples]) - mean  # (N, 4, 5, h, w)
    return fitted(hull, read, change, model, before=config.ways_groups_before / len(chosen))


@dataclass(frozen=True, eq=False)
class _Example:
    """One head, or it and its mirror image.

    Attributes:
        features: (1 or 2, F) of its portrait.
        views: (1 or 2, 4, 5, h, w) opacity, depth and colour of its canonical views; depth and
            colour are the mean head's where nothing covers a pixel.
    """

    features: Float[Tensor, "N F"]
    views: Float[Tensor, "N 4 5 h w"]


def _coarse(hull: Hull) -> Float[Tensor, "4 5 h w"]:
    """Return the mean head as channels, at the size of ways."""
    channels = torch.cat([hull.opacity[:, None], hull.depth[:, None], hull.rgb], dim=1)
    return F.avg_pool2d(channels, 2)


def _example(capture: HeadCapture, mean: Float[Tensor, "4 5 h w"], config: TrainConfig) -> _Example:
    model, background = config.model, torch.tensor(config.background)
    canonical = canonical_indices(capture, model.radius)
    views, _ = read_framed(
        capture,
        [capture.input_view, *canonical],
        background,
        size_px=model.size_px,
        vertical_fov_deg=model.vertical_fov_deg,
    )
    portrait = network_input(views[:1], model)
    rgb, alpha = F.avg_pool2d(views.rgb[1:], 2), F.avg_pool2d(views.alpha[1:], 2)
    over_mean = rgb - (1 - alpha) * background[:, None, None] + (1 - alpha) * mean[:, 2:]
    others = [i for i in range(len(capture)) if i not in canonical]
    at = [*canonical, *evenly(others, HULL_VIEWS - VIEWS)]
    silhouettes, cameras = read_whole(capture, at, size_px=model.size_px)
    coarse = canonical_four(
        model.size_px // 2, radius=model.radius, vertical_fov_deg=model.vertical_fov_deg
    )
    depth, share = carve(silhouettes, cameras, coarse, model, steps=HULL_STEPS)
    depth = torch.where((share >= COVERED)[:, None], depth[:, None], mean[:, 1:2])
    found = torch.cat([alpha, depth, over_mean], dim=1)[None]  # (1, 4, 5, h, w)
    if config.flip:
        portrait = torch.cat([portrait, portrait.flip(-1)])
        found = torch.cat([found, found[:, MIRRORED_CANONICAL].flip(-1)])
    return _Example(features(portrait), found)


def fitted(
    hull: Hull,
    read: Float[Tensor, "N F"],
    change: Float[Tensor, "N 4 5 h w"],
    config: ModelConfig,
    *,
    before: float = 0.0,
) -> Hull:
    """Fit the regression, and add its intercept to the mean head.

    Of the heads of before only their regression is left. If their portraits were like these, their
    normal equations are known with it, and what it leaves over here, fitted with a Gram matrix of
    all, gives the regression of all.

    Args:
        hull: the mean head, with the ways of before.
        read: features of portraits.
        change: what is to be added to the mean head to have theirs; changed in place.
        config: the network's.
        before: how many heads the ways of before are from, as a multiple of N.
    """
    # A portrait itself says how its own view looks, so that no way need be spent on that.
    change[:, FRONT, 0] = 0
    change[:, FRONT, 2:] = 0
    if before == 0:
        frequencies, phases = random_waves(read, config)
        drawn = {"frequencies": frequencies, "phases": phases}
        hull = replace(hull, **(no_ways(config) | drawn))
    if config.hull_waves:
        read = torch.cat([read, waves(read, hull.frequencies, hull.phases)], dim=1)
    # In the units of the depth's tanh: a rank is chosen by squared size over all channels.
    unit = torch.tensor([1.0, config.depth_reach, 1.0, 1.0, 1.0])[:, None, None]
    known = (hull.ways / unit).flatten(1)
    middle = read.mean(dim=0)
    wanted = (change / unit).flatten(1)
    wanted -= (read @ hull.reading.mT + hull.reading_bias) @ known
    centred, left = read - middle, wanted.mean(dim=0)
    wanted -= left
    gram = (1 + before) * centred.mT @ centred + RIDGE * torch.eye(read.shape[1])
    weights = torch.linalg.solve(gram.double(), (centred.mT @ wanted).double()).float()  # (F, P)
    weights += hull.reading.mT @ known
    at_middle = (hull.reading @ middle + hull.reading_bias) @ known + left / (1 + before)
    intercept = at_middle.unflatten(0, change.shape[1:]) * unit
    rank = config.hull_ways
    directions = principal_directions(centred, weights)[:rank]  # (R, P)
    reading = directions @ weights.mT  # (R, F)
    rows = F.pad(directions, (0, 0, 0, rank - len(directions)))
    reading = F.pad(reading, (0, 0, 0, rank - len(reading)))
    ways = rows.unflatten(1, change.shape[1:]) * unit
    add = F.interpolate(intercept, scale_factor=2, mode="bilinear", align_corners=False)
    reach = REACH_USED * config.depth_reach
    return replace(
        hull,
        opacity=(hull.opacity + add[:, 0]).clamp(0, 1),
        depth=(hull.depth + add[:, 1]).clamp(config.radius - reach, config.radius + reach),
        rgb=(hull.rgb + add[:, 2:]).clamp(0, 1),
        reading=reading,
        reading_bias=-reading @ middle,
        ways=ways,
    )


def principal_directions(
    centred: Float[Tensor, "N F"], weights: Float[Tensor, "F P"]
) -> Float[Tensor, "R P"]:
    """Return right singular vectors of ``centred @ weights``, strongest first.

    R is the smaller of N and F. By eigenvectors of the products of rows, since P is large.
    """
    rows = (torch.linalg.qr(centred, mode="r")[1] @ weights).double()
    left = torch.linalg.eigh(rows @ rows.mT)[1].flip(-1)
    return F.normalize(left.mT @ rows).float()


def random_waves(
    read: Float[Tensor, "N F"], config: ModelConfig
) -> tuple[Float[Tensor, "M F"], Float[Tensor, "M"]]:
    """Draw waves whose regression is one with a Gaussian kernel; return frequencies and phases.

    The kernel's width follows the median distance in the set. Waves come in mirrored pairs, so
    that mirrored portraits are followed by mirrored heads if the set has both.
    """
    generator = torch.Generator().manual_seed(0)
    some = read[evenly(range(len(read)), MEDIAN_OF)]
    apart = torch.pdist(some).square()
    typical = float(apart.median()) if len(apart) else 0.0
    spread = math.sqrt(2 / (WAVE_LENGTH * max(typical, APART_MIN)))
    half = config.hull_waves // 2
    frequencies = spread * torch.randn(half, read.shape[1], generator=generator)
    phases = 2 * math.pi * torch.rand(half, generator=generator)
    return torch.cat([frequencies, mirrored(frequencies, config.size_px)]), phases.repeat(2)
