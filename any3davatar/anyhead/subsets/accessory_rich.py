"""``Accessory_Rich_Heads_Dataset``: 16 views in a grid, edited once, checked, and split back.

The flow of Any3DAvatar, appendix C.1: the fixed prompt with a random accessory, one edit for all
views, quality control, splitting. The persons are those of the digital human subset.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from any3davatar.anyhead import layout, people
from any3davatar.anyhead.camera_parameters import write_camera_parameters
from any3davatar.anyhead.editors import EditRequest, GridEditor, ProceduralEditor
from any3davatar.anyhead.errors import DataError, Rejected
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.lexicon import ACCESSORIES, WornThing
from any3davatar.anyhead.pictures import write_views
from any3davatar.anyhead.programs import BackEndFailed
from any3davatar.anyhead.prompts import accessory_prompt, sample_accessories
from any3davatar.anyhead.quality import EditLimits, check_edit, edit_scores
from any3davatar.anyhead.readme import accessory_rich_readme
from any3davatar.anyhead.records import GroupRecord, HeadRecord, Rejection
from any3davatar.anyhead.rigs import Rig, make_rig
from any3davatar.anyhead.subsets.digital_human import PREFIX, Drawing, group_record
from any3davatar.core import Views

RIG = "accessory16"


@dataclass(frozen=True)
class AccessoryHeads:
    """The recipe of the subset.

    Attributes:
        drawing: size and quality of the pictures.
        accessories: groups a person, drawn by lot.
        editor: what adds the accessory.
        limits: what an accepted edit reaches.
    """

    drawing: Drawing = field(default_factory=Drawing)
    accessories: int = 2
    editor: GridEditor = field(default_factory=ProceduralEditor)
    limits: EditLimits = field(default_factory=EditLimits)

    subset = layout.ACCESSORY_RICH

    def __post_init__(self) -> None:
        if not 1 <= self.accessories <= len(ACCESSORIES):
            raise DataError(
                f"accessories: got {self.accessories}, expected 1 to {len(ACCESSORIES)}"
            )

    def describe(self) -> Mapping[str, Any]:
        """Return the recipe as JSON."""
        return {
            "kind": "accessory-rich heads",
            "drawing": asdict(self.drawing),
            "accessories": self.accessories,
            "editor": self.editor.describe(),
            "limits": asdict(self.limits),
            "rig": RIG,
        }

    def readme(self) -> str:
        """Return the text of README.md."""
        return accessory_rich_readme(self.describe())

    def head_id(self, seed: int) -> str:
        """Return the id of a seed's head: that of the same person in the digital human subset."""
        return layout.head_id(PREFIX, seed)

    def build(self, seed: int, folder: Path) -> HeadRecord:
        """Write all accepted groups of a person; see `any3davatar.anyhead.recipes.Recipe`."""
        spec, rig = people.person(seed), make_rig(RIG, self.drawing.size_px, seed)
        before = people.draw(spec, rig.cameras, self.drawing.supersampling)
        groups: list[GroupRecord] = []
        rejected: dict[str, Rejection] = {}
        for worn in sample_accessories(seed, self.accessories):
            try:
                groups.append(self._group(worn, spec, before, rig, folder))
            except BackEndFailed as failure:
                rejected[worn.id] = Rejection(str(failure))
            except Rejected as failure:
                rejected[worn.id] = Rejection(failure.reason, failure.scores)
        if not groups:
            worn_id, first = next(iter(rejected.items()))
            raise Rejected(f"no accessory passed; {worn_id}: {first.reason}", first.scores)
        return HeadRecord(
            subset=layout.ACCESSORY_RICH,
            head_id=self.head_id(seed),
            subject=self.head_id(seed),
            seed=seed,
            attributes={"made_by": "procedural digital human", "editor": self.editor.describe()},
            groups=tuple(groups),
            rejected_groups=rejected,
        )

    def _group(
        self, worn: WornThing, spec: HeadSpec, before: Views, rig: Rig, folder: Path
    ) -> GroupRecord:
        prompt = accessory_prompt(worn)
        request = EditRequest(before, rig.cameras, spec, worn, prompt, self.drawing.supersampling)
        after = self.editor.edit(request)
        scores = edit_scores(before, after, rig.cameras)
        check_edit(scores, self.limits)
        group = folder / layout.checked_id(worn.id, "accessory id")
        group.mkdir()
        write_views(group, after.rgb, after.alpha)
        write_camera_parameters(group / layout.CAMERA_PARAMETERS, rig)
        return group_record(
            worn.id,
            people.with_accessories(spec, worn.accessory),
            group,
            attributes={"accessory": worn.text, "prompt": prompt},
            scores=scores,
        )
