"""``AI_Generated_Heads_Dataset``: from words to many views (Any3DAvatar, section 3.2 and C.1).

Uniform attributes -> prompt -> portrait -> 3D Gaussians -> views -> details -> filter. Each arrow
is a stage with back ends of its own; the embedded ones need nothing but this library.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from any3davatar.anyhead import layout, people
from any3davatar.anyhead.camera_parameters import write_camera_parameters
from any3davatar.anyhead.errors import Rejected
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.pictures import write_views
from any3davatar.anyhead.programs import BackEndFailed
from any3davatar.anyhead.prompts import PortraitPrompt, sample_prompt
from any3davatar.anyhead.readme import ai_generated_readme
from any3davatar.anyhead.records import HeadRecord
from any3davatar.anyhead.rigs import make_rig
from any3davatar.anyhead.stages.enhancement import Enhancement, NoEnhancement
from any3davatar.anyhead.stages.filters import ConsistencyFilter, HeadFilter
from any3davatar.anyhead.stages.lifting import EmbeddedLifting, ImageToViews
from any3davatar.anyhead.stages.portraits import EmbeddedPortraits, HeadIdea, TextToImage
from any3davatar.anyhead.subsets.digital_human import Drawing, group_record

PREFIX = "ai"


@dataclass(frozen=True)
class AiGeneratedHeads:
    """The recipe of the subset.

    Attributes:
        drawing: size of the pictures, and quality where a stage draws the digital human.
        rig: a key of `any3davatar.anyhead.rigs.RIGS`.
        text_to_image: prompt to portrait.
        image_to_views: portrait to views.
        enhancement: details.
        head_filter: what is kept.
    """

    drawing: Drawing = field(default_factory=Drawing)
    rig: str = "anyhead80"
    text_to_image: TextToImage = field(default_factory=EmbeddedPortraits)
    image_to_views: ImageToViews = field(default_factory=EmbeddedLifting)
    enhancement: Enhancement = field(default_factory=NoEnhancement)
    head_filter: HeadFilter = field(default_factory=ConsistencyFilter)

    subset = layout.AI_GENERATED

    def __post_init__(self) -> None:
        make_rig(self.rig, self.drawing.size_px, 0)

    def describe(self) -> Mapping[str, Any]:
        """Return the recipe as JSON."""
        return {
            "kind": "AI-generated heads",
            "drawing": asdict(self.drawing),
            "rig": self.rig,
            "text_to_image": self.text_to_image.describe(),
            "image_to_views": self.image_to_views.describe(),
            "enhancement": self.enhancement.describe(),
            "filter": self.head_filter.describe(),
        }

    def readme(self) -> str:
        """Return the text of README.md."""
        return ai_generated_readme(self.describe())

    def head_id(self, seed: int) -> str:
        """Return the id of a seed's head."""
        return layout.head_id(PREFIX, seed)

    def build(self, seed: int, folder: Path) -> HeadRecord:
        """Write the views of a head; see `any3davatar.anyhead.recipes.Recipe`."""
        prompt = sample_prompt(seed)
        idea = HeadIdea(
            seed, prompt, spec_of(prompt, seed), self.drawing.size_px, self.drawing.supersampling
        )
        rig = make_rig(self.rig, self.drawing.size_px, seed)
        try:
            portrait = self.text_to_image.portrait(idea)
            views = self.image_to_views.views(idea, portrait, rig.cameras)
            views = self.enhancement.enhanced(idea, views)
            scores = self.head_filter.judge(idea, portrait, views, rig)
        except BackEndFailed as failure:
            raise Rejected(str(failure)) from failure
        write_views(folder, views.rgb, views.alpha)
        write_camera_parameters(folder / layout.CAMERA_PARAMETERS, rig)
        words = {name: word.text for name, word in prompt.words.items()}
        return HeadRecord(
            subset=layout.AI_GENERATED,
            head_id=self.head_id(seed),
            subject=self.head_id(seed),
            seed=seed,
            attributes={"words": words, "prompt": prompt.text},
            groups=(group_record(None, idea.spec, folder, scores=scores),),
        )


def spec_of(prompt: PortraitPrompt, seed: int) -> HeadSpec:
    """Return the digital human that a prompt's words describe.

    What no word speaks of is drawn as for any person of this seed. Where a word leaves a choice
    (hair colours), the seed decides.
    """
    random = np.random.default_rng([seed, 0x73706563])
    spec = people.person(seed)
    for word in prompt.words.values():
        for part, members in word.effect.items():
            spec = _changed(spec, part, members, random)
    if spec.identity.masculine < 0.5 or spec.identity.age_years < 18:
        spec = replace(
            spec, beard=replace(spec.beard, style="none"), skin=replace(spec.skin, stubble=0.0)
        )
    return spec


def _changed(spec: HeadSpec, part: str, members: Any, random: np.random.Generator) -> HeadSpec:
    if not isinstance(members, Mapping):
        return replace(spec, **{part: members})
    decided = {
        name: value[int(random.integers(len(value)))] if isinstance(value, tuple) else value
        for name, value in members.items()
    }
    return replace(spec, **{part: replace(getattr(spec, part), **decided)})
