"""``Digital_Human_Heads_Dataset``: persons x expressions x views (Any3DAvatar, section 3.2).

The paper fits MetaHumans to FaceScape's keypoints and renders them in Unreal Engine; here the
procedural head of `any3davatar.anyhead.heads` takes their place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from any3davatar.anyhead import layout, people
from any3davatar.anyhead.camera_parameters import write_camera_parameters
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.heads import names
from any3davatar.anyhead.heads.spec import Accessory, HeadSpec
from any3davatar.anyhead.pictures import write_view
from any3davatar.anyhead.prompts import sample_accessories
from any3davatar.anyhead.readme import digital_human_readme
from any3davatar.anyhead.records import GroupRecord, HeadRecord, hashes_of
from any3davatar.anyhead.rigs import Rig, make_rig

PREFIX = "dh"


@dataclass(frozen=True)
class Drawing:
    """How the digital human is drawn.

    Attributes:
        size_px: width and height of a view.
        supersampling: samples a pixel and axis.
    """

    size_px: int = 512
    supersampling: int = 2

    def __post_init__(self) -> None:
        if not 16 <= self.size_px <= 4096:
            raise DataError(f"size_px: got {self.size_px}, expected 16 to 4096 pixels")
        if not 1 <= self.supersampling <= 8:
            raise DataError(f"supersampling: got {self.supersampling}, expected 1 to 8")


@dataclass(frozen=True)
class DigitalHumans:
    """The recipe of the subset.

    Attributes:
        drawing: size and quality of the pictures.
        rig: a key of `any3davatar.anyhead.rigs.RIGS`.
        expressions: groups a person: the neutral face first, then others by lot; a single one is
            any of them by lot.
        worn_share: share of the persons who wear an accessory, one by lot, in all their groups.
            The paper's wear none; a set that is to teach a small network hats in little time draws
            them here, from all of the rig's cameras, at the price of a person.
        draft: whether heads are built coarsely, in about half the time: fewer and wider hairs,
            light from fewer directions. For training a network that sees them smaller still.
    """

    drawing: Drawing = field(default_factory=Drawing)
    rig: str = "digital80"
    expressions: int = 4
    worn_share: float = 0.0
    draft: bool = False

    subset = layout.DIGITAL_HUMAN

    def __post_init__(self) -> None:
        if not 1 <= self.expressions <= len(names.EXPRESSIONS):
            raise DataError(
                f"expressions: got {self.expressions}, expected 1 to {len(names.EXPRESSIONS)}"
            )
        if not 0 <= self.worn_share <= 1:
            raise DataError(f"worn_share: got {self.worn_share}, expected 0 to 1")
        make_rig(self.rig, self.drawing.size_px, 0)

    def describe(self) -> Mapping[str, Any]:
        """Return the recipe as JSON; nobody's wearing anything and full detail are not mentioned.

        Sets of before there was a choice are of the same recipe, and can be added to.
        """
        recipe = {"kind": "digital humans", **asdict(self)}
        if self.worn_share == 0:
            del recipe["worn_share"]
        if not self.draft:
            del recipe["draft"]
        return recipe

    def readme(self) -> str:
        """Return the text of README.md."""
        return digital_human_readme(self.describe())

    def head_id(self, seed: int) -> str:
        """Return the id of a seed's head."""
        return layout.head_id(PREFIX, seed)

    def build(self, seed: int, folder: Path) -> HeadRecord:
        """Write all groups of a person; see `any3davatar.anyhead.recipes.Recipe`."""
        rig = make_rig(self.rig, self.drawing.size_px, seed)
        groups = draw_groups(folder, self.conditions(seed), rig, self.drawing, draft=self.draft)
        return digital_human_record(self.head_id(seed), seed, groups)

    def conditions(self, seed: int) -> Mapping[str, HeadSpec]:
        """Return what each group of a seed's person shows, by expression."""
        someone = people.with_accessories(
            people.person(seed), *accessories_of(seed, self.worn_share)
        )
        return {
            name: people.with_expression(someone, name)
            for name in expressions_of(seed, self.expressions)
        }


def expressions_of(seed: int, count: int) -> list[str]:
    """Return `count` expressions for a person: neutral first, the others by lot, none twice.

    A person with a single group shows any expression: a set of neutral faces would teach no other.
    """
    random = np.random.default_rng([seed, 0x65787072])  # a stream of its own beside the head's
    if count == 1:
        return [str(random.choice(list(names.EXPRESSIONS)))]
    others = [name for name in names.EXPRESSIONS if name != "neutral"]
    return ["neutral", *(str(name) for name in random.permutation(others)[: count - 1])]


def accessories_of(seed: int, share: float) -> list[Accessory]:
    """Return what a person wears by lot: nothing, or for a share of all persons one thing."""
    random = np.random.default_rng([seed, 0x776F726E])  # a stream of its own beside the head's
    if random.random() >= share:
        return []
    return [worn.accessory for worn in sample_accessories(seed, 1)]


def draw_groups(
    folder: Path,
    conditions: Mapping[str, HeadSpec],
    rig: Rig,
    drawing: Drawing,
    *,
    draft: bool = False,
) -> list[GroupRecord]:
    """Draw one group for each condition, from the same cameras."""
    groups = []
    for name, spec in conditions.items():
        group = folder / layout.checked_id(name, "group id")
        group.mkdir()
        drawn_from = people.drawer(spec, drawing.supersampling, draft=draft)
        for v in range(len(rig)):  # 80 views of 512 pixels at once would take 420 MB
            view = drawn_from(rig.cameras[v : v + 1])[0]
            write_view(group / f"{layout.view_id(v)}.png", view.rgb, view.alpha)
        write_camera_parameters(group / layout.CAMERA_PARAMETERS, rig)
        groups.append(group_record(name, spec, group))
    return groups


def group_record(
    name: str | None,
    spec: HeadSpec,
    folder: Path,
    *,
    attributes: Mapping[str, Any] | None = None,
    scores: Mapping[str, float] | None = None,
) -> GroupRecord:
    """Return the record of a group of the digital human whose files are written."""
    return GroupRecord(
        id=name,
        attributes={**(attributes or {}), "spec": people.plain(spec)},
        accessories=tuple(accessory.kind for accessory in spec.accessories),
        stylised=spec.look != people.NATURAL,
        scores=scores or {},
        files=hashes_of(folder),
    )


def digital_human_record(head: str, seed: int, groups: Sequence[GroupRecord]) -> HeadRecord:
    """Return the record of a digital human."""
    return HeadRecord(
        subset=layout.DIGITAL_HUMAN,
        head_id=head,
        subject=head,
        seed=seed,
        attributes={"made_by": "procedural digital human"},
        groups=tuple(groups),
    )
