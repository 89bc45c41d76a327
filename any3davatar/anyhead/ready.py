"""The two sets that are ready by name, and the rule that keeps them apart.

* ``anyhead-mini``: 16 evaluation persons, each with another expression and some with accessories,
  from the 80 evaluation cameras (Any3DAvatar, section 4.1).
* ``anyhead-train``: as many persons as asked for, in all three subsets.

Persons are seeds, and the seeds of evaluation persons belong to evaluation alone:
`training_seeds` never yields one, and `check_training_seeds` refuses one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from any3davatar.anyhead import layout, people
from any3davatar.anyhead.build import BuildReport, build
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.lexicon import ACCESSORIES
from any3davatar.anyhead.manifest import check_same_recipe, read_manifest
from any3davatar.anyhead.readers import AnyHead
from any3davatar.anyhead.readme import digital_human_readme
from any3davatar.anyhead.recipes import Recipe
from any3davatar.anyhead.records import HeadRecord
from any3davatar.anyhead.rigs import make_rig
from any3davatar.anyhead.splits import SplitRule, assigned, write_splits
from any3davatar.anyhead.subsets.accessory_rich import AccessoryHeads
from any3davatar.anyhead.subsets.ai_generated import AiGeneratedHeads
from any3davatar.anyhead.subsets.digital_human import (
    PREFIX,
    DigitalHumans,
    Drawing,
    digital_human_record,
    draw_groups,
)
from any3davatar.cache import cache_root

MINI = "anyhead-mini"
TRAIN = "anyhead-train"

EVALUATION_SEEDS = range(0, 100_000)
TRAINING_SEEDS = range(1_000_000, 2_000_000)
TRAINING_SEEDS_AI = range(2_000_000, 3_000_000)  # no person of the other two subsets is among them


@dataclass(frozen=True)
class Role:
    """What an evaluation person shows.

    Attributes:
        expression: a name of the digital human's expressions.
        worn: ids of `any3davatar.anyhead.lexicon.ACCESSORIES`.
    """

    expression: str
    worn: tuple[str, ...] = ()


# One row a person, by seed: 16 different expressions, five with accessories of five kinds.
EVALUATION_ROLES: Mapping[int, Role] = {
    0: Role("neutral"),
    1: Role("smile"),
    2: Role("grin", ("glasses-black",)),
    3: Role("laugh"),
    4: Role("open"),
    5: Role("surprise", ("beanie-grey",)),
    6: Role("frown"),
    7: Role("anger"),
    8: Role("sad", ("headphones-black",)),
    9: Role("disgust"),
    10: Role("fear"),
    11: Role("wink", ("hat-straw",)),
    12: Role("pucker"),
    13: Role("smirk"),
    14: Role("puff", ("earring-left-silver",)),
    15: Role("talk"),
}


@dataclass(frozen=True)
class EvaluationHeads:
    """The recipe of ``anyhead-mini``: the persons of `EVALUATION_ROLES` and no others.

    Attributes:
        drawing: size and quality of the pictures.
        rig: a key of `any3davatar.anyhead.rigs.RIGS`; the paper's evaluation has 80 views.
    """

    drawing: Drawing = field(default_factory=Drawing)
    rig: str = "anyhead80"

    subset = layout.DIGITAL_HUMAN

    def describe(self) -> Mapping[str, Any]:
        """Return the recipe as JSON."""
        roles = {str(seed): asdict(role) for seed, role in EVALUATION_ROLES.items()}
        return {"kind": MINI, **asdict(self), "roles": roles}

    def readme(self) -> str:
        """Return the text of README.md."""
        return digital_human_readme(self.describe())

    def head_id(self, seed: int) -> str:
        """Return the id of a seed's head."""
        return layout.head_id(PREFIX, seed)

    def build(self, seed: int, folder: Path) -> HeadRecord:
        """Write the one group of a person; see `any3davatar.anyhead.recipes.Recipe`."""
        role = EVALUATION_ROLES[seed]
        worn = {thing.id: thing.accessory for thing in ACCESSORIES}
        spec = people.with_accessories(
            people.with_expression(people.person(seed), role.expression),
            *(worn[name] for name in role.worn),
        )
        rig = make_rig(self.rig, self.drawing.size_px, seed)
        groups = draw_groups(folder, {role.expression: spec}, rig, self.drawing)
        return digital_human_record(self.head_id(seed), seed, groups)


@dataclass(frozen=True)
class TrainingSize:
    """How many heads ``anyhead-train`` has.

    Attributes:
        digital_humans: persons of the digital human subset.
        accessory_heads: how many of these also appear with accessories.
        ai_heads: AI-generated heads; each takes a fit of Gaussians, minutes on a CPU.
        expressions: groups a digital human. Where time is short, more persons with one expression
            each teach more than few with many.
    """

    digital_humans: int
    accessory_heads: int = 0
    ai_heads: int = 0
    expressions: int = 4

    def __post_init__(self) -> None:
        if self.digital_humans < 1 or self.accessory_heads < 0 or self.ai_heads < 0:
            raise DataError(f"a training set has at least one digital human; got {self}")
        if self.accessory_heads > self.digital_humans:
            raise DataError(
                f"heads with accessories are digital humans; got {self.accessory_heads} of "
                f"{self.digital_humans}"
            )


def training_seeds(count: int, among: range = TRAINING_SEEDS) -> list[int]:
    """Return the first `count` seeds of a training range.

    Raises:
        DataError: the range has fewer.
    """
    if count > len(among):
        raise DataError(f"got {count} heads, expected at most {len(among)}")
    return list(among[:count])


def check_training_seeds(seeds: Iterable[int]) -> None:
    """Raise `DataError` if a seed belongs to evaluation."""
    taken = sorted(set(seeds) & set(EVALUATION_SEEDS))
    if taken:
        raise DataError(
            f"seed {taken[0]} is one of {EVALUATION_SEEDS.start} to {EVALUATION_SEEDS.stop - 1}, "
            "which are for evaluation; train on seeds from "
            f"{TRAINING_SEEDS.start}"
        )


def build_mini(
    root: Path,
    *,
    size_px: int = 512,
    seeds: Sequence[int] = tuple(EVALUATION_ROLES),
    workers: int = 1,
    on_head: Callable[[str], None] | None = None,
) -> list[BuildReport]:
    """Build ``anyhead-mini``, or what is missing of it.

    Args:
        root: root of the data set.
        size_px: width and height of the pictures.
        seeds: which of the evaluation persons; others that are there already stay.
        workers: processes.
        on_head: called with the id of each head that is done.

    Raises:
        DataError, OSError: see `any3davatar.anyhead.build.build`.
    """
    recipe = EvaluationHeads(Drawing(size_px))
    report = build(root, recipe, list(seeds), workers=workers, on_head=on_head)
    store_splits(root, SplitRule(validation=0.0, test=1.0))
    return [report]


def build_train(
    root: Path,
    size: TrainingSize,
    *,
    size_px: int = 512,
    workers: int = 1,
    on_head: Callable[[str], None] | None = None,
) -> list[BuildReport]:
    """Build ``anyhead-train``, or what is missing of it; a larger size adds to a smaller.

    Raises:
        DataError, OSError: see `any3davatar.anyhead.build.build`.
    """
    drawing = Drawing(size_px)
    persons = training_seeds(size.digital_humans)
    orders: Sequence[tuple[Recipe, list[int]]] = (
        (DigitalHumans(drawing, expressions=size.expressions), persons),
        (AccessoryHeads(drawing), persons[: size.accessory_heads]),
        (AiGeneratedHeads(drawing), training_seeds(size.ai_heads, TRAINING_SEEDS_AI)),
    )
    reports = []
    for recipe, seeds in orders:
        check_training_seeds(seeds)
        if seeds:
            reports.append(build(root, recipe, seeds, workers=workers, on_head=on_head))
    store_splits(root, SplitRule(test=0.0))
    return reports


def store_splits(root: Path, rule: SplitRule) -> None:
    """Assign every subject of a data set and write ``SPLITS.json``."""
    write_splits(root, assigned(rule, (head.subject for head in AnyHead(root).heads)))


def ready_root(name: str, size_px: int) -> Path:
    """Return where a ready set of a picture size is built on first use, inside the cache."""
    return cache_root() / "anyhead" / f"{name}-{size_px}"


def open_mini(
    *,
    size_px: int = 512,
    seeds: Sequence[int] = tuple(EVALUATION_ROLES),
    workers: int = 1,
    on_head: Callable[[str], None] | None = None,
) -> AnyHead:
    """Return ``anyhead-mini``, built into the cache on first use; see `build_mini`.

    A set that is complete is only read, so several processes may open it at once. It may list
    more persons than `seeds`: those that somebody else asked for.

    Raises:
        DataError, OSError: see `any3davatar.anyhead.build.build`.
    """
    root = ready_root(MINI, size_px)
    if not _holds(root, EvaluationHeads(Drawing(size_px)), seeds):
        build_mini(root, size_px=size_px, seeds=seeds, workers=workers, on_head=on_head)
    return AnyHead(root)


def _holds(root: Path, recipe: Recipe, seeds: Iterable[int]) -> bool:
    """Return whether all these heads of a recipe, and the splits, are in place."""
    folder = root / layout.checked_subset(recipe.subset)
    if not ((folder / layout.MANIFEST).is_file() and (root / layout.SPLITS).is_file()):
        return False
    manifest = read_manifest(folder)
    check_same_recipe(manifest, recipe.describe(), folder)
    return all(recipe.head_id(seed) in manifest.heads for seed in seeds)
