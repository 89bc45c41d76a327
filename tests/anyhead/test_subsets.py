"""The three subsets and the ready sets, with real digital humans at small sizes."""

from pathlib import Path

import pytest
import torch

from any3davatar.anyhead import layout, people, ready
from any3davatar.anyhead.build import build
from any3davatar.anyhead.editors import CommandEditor
from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.heads.assets import AssetsUnavailable
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.lexicon import ACCESSORIES
from any3davatar.anyhead.manifest import read_manifest
from any3davatar.anyhead.programs import Program
from any3davatar.anyhead.prompts import sample_prompt
from any3davatar.anyhead.quality import GREY
from any3davatar.anyhead.readers import AnyHead
from any3davatar.anyhead.splits import SplitRule, read_splits
from any3davatar.anyhead.stages.lifting import EmbeddedLifting
from any3davatar.anyhead.stats import statistics
from any3davatar.anyhead.subsets.accessory_rich import AccessoryHeads
from any3davatar.anyhead.subsets.ai_generated import AiGeneratedHeads, spec_of
from any3davatar.anyhead.subsets.digital_human import (
    DigitalHumans,
    Drawing,
    accessories_of,
    expressions_of,
)
from any3davatar.anyhead.verify import Thoroughness, verify
from any3davatar.core.images import composite
from any3davatar.fitting import FitConfig
from tests.anyhead.spheres import contents
from tests.at_hand import missing

PERSON = ready.TRAINING_SEEDS[0]
IMAGINED = ready.TRAINING_SEEDS_AI[0]
TINY = Drawing(64)
QUICK_FIT = EmbeddedLifting(FitConfig(n_gaussians=3000, steps=60, hull_resolution=48), azimuths=6)


@pytest.fixture(scope="module")
def assets() -> None:
    try:
        people.prepare()
    except AssetsUnavailable as error:
        missing("the head assets", error)


@pytest.fixture(scope="module")
def root(assets: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person as digital human and with an accessory, and one imagined head."""
    root = tmp_path_factory.mktemp("anyhead")
    build(root, DigitalHumans(TINY, "digital6", expressions=1), [PERSON])
    build(root, AccessoryHeads(TINY, accessories=1), [PERSON])
    report = build(root, AiGeneratedHeads(TINY, "turntable8", image_to_views=QUICK_FIT), [IMAGINED])
    assert report.rejected == {}
    ready.store_splits(root, SplitRule())
    return root


def test_the_three_subsets_lie_as_in_appendix_c2(root: Path) -> None:
    accessory = read_manifest(root / layout.ACCESSORY_RICH)
    (worn,) = (root / layout.ACCESSORY_RICH / next(iter(accessory.heads))).glob("*/000.png")
    assert worn.parent.name in {thing.id for thing in ACCESSORIES}
    (shown,) = expressions_of(PERSON, 1)
    for path in (
        "AI_Generated_Heads_Dataset/README.md",
        "AI_Generated_Heads_Dataset/ai-2000000/007.png",
        "Digital_Human_Heads_Dataset/README.md",
        f"Digital_Human_Heads_Dataset/dh-1000000/{shown}/005.png",
        f"Digital_Human_Heads_Dataset/dh-1000000/{shown}/CAMERA_PARAMETERS.json",
        "Accessory_Rich_Heads_Dataset/README.md",
        f"Accessory_Rich_Heads_Dataset/dh-1000000/{worn.parent.name}/015.png",
        f"Accessory_Rich_Heads_Dataset/dh-1000000/{worn.parent.name}/CAMERA_PARAMETERS.json",
    ):
        assert (root / path).is_file(), path


def test_they_verify_clean(root: Path) -> None:
    assert verify(root) == []


def test_statistics_count_persons_not_heads(root: Path) -> None:
    found = statistics(root)
    assert found.identities == 2
    assert found.heads == dict.fromkeys(layout.SUBSETS, 1)
    assert found.accessory
    assert found.full_head
    assert found.camera_views == 16
    assert found.stylised_head == (
        spec_of(sample_prompt(IMAGINED), IMAGINED).look != people.NATURAL
    )


def test_every_picture_shows_a_head_with_a_soft_outline(root: Path) -> None:
    for capture in AnyHead(root):
        views = capture.views()
        covered = (views.alpha > 0.5).float().mean((1, 2, 3))
        assert float(covered.min()) > 0.05
        assert bool(((views.alpha > 0.05) & (views.alpha < 0.95)).any())
        middle = views.alpha[:, 0, 24:40, 24:40].amax((1, 2))
        assert bool((middle > 0.9).all())  # random cameras look at the head too


def test_a_subject_is_in_one_split_whatever_subset_shows_it(root: Path) -> None:
    assert set(read_splits(root).subjects) == {"dh-1000000", "ai-2000000"}


def test_records_say_who_it_is_and_what_is_worn(root: Path) -> None:
    by_subset = {group.head.subset: group for group in AnyHead(root).groups}
    person = people.person(PERSON)
    bare = by_subset[layout.DIGITAL_HUMAN].record
    (shown,) = expressions_of(PERSON, 1)
    assert people.spec_of(bare.attributes) == people.with_expression(person, shown)
    worn = by_subset[layout.ACCESSORY_RICH].record
    dressed = people.spec_of(worn.attributes)
    assert people.with_accessories(dressed) == person
    assert worn.accessories == tuple(accessory.kind for accessory in dressed.accessories)
    assert worn.attributes["accessory"] in worn.attributes["prompt"]
    assert worn.scores["consistent_min"] > 0.5
    imagined = by_subset[layout.AI_GENERATED]
    assert imagined.record.id is None
    assert imagined.head.attributes["prompt"] == sample_prompt(IMAGINED).text


def test_readmes_name_the_back_ends_honestly(root: Path) -> None:
    text = (root / layout.AI_GENERATED / layout.README).read_text()
    assert '"kind": "embedded"' in text
    assert "no\ngenerative network was involved" in text
    text = (root / layout.ACCESSORY_RICH / layout.README).read_text()
    assert '"kind": "procedural"' in text
    assert "it is no image editing network" in text


def test_the_lifted_head_looks_like_its_portrait(root: Path) -> None:
    (group,) = (g for g in AnyHead(root).groups if g.head.subset == layout.AI_GENERATED)
    assert group.record.scores["portrait_agreement"] > 0.85


@pytest.mark.slow
def test_an_editor_that_fails_leaves_a_recorded_rejection(assets: None, tmp_path: Path) -> None:
    editor = CommandEditor(Program(("false", "{output}")), attempts=1)
    recipe = AccessoryHeads(Drawing(16, 1), accessories=2, editor=editor)
    report = build(tmp_path, recipe, [PERSON])
    (reason,) = report.rejected.values()
    assert reason.startswith("no accessory passed;")
    assert "false ended with status 1" in reason
    assert AnyHead(tmp_path).heads == []


@pytest.mark.slow
def test_what_is_drawn_again_is_the_same(root: Path) -> None:
    assert verify(root, Thoroughness(silhouettes=False, redraw=2)) == []


@pytest.mark.slow
def test_two_workers_draw_the_bytes_of_one(root: Path, tmp_path: Path) -> None:
    recipe = DigitalHumans(TINY, "digital6", expressions=1)
    build(tmp_path, recipe, [PERSON, PERSON + 1], workers=2)
    again = contents(tmp_path)
    for path, content in contents(root).items():
        if path.startswith(f"{layout.DIGITAL_HUMAN}/dh-1000000/"):
            assert again[path] == content, path


@pytest.mark.slow
def test_more_persons_pass_with_three_accessories_each(assets: None, tmp_path: Path) -> None:
    seeds = range(PERSON + 10, PERSON + 14)
    build(tmp_path, AccessoryHeads(Drawing(256), accessories=3), seeds, workers=2)
    heads = AnyHead(tmp_path).heads
    assert len(heads) == 4
    # A perfectly consistent edit that fails its checks is a fault of the checks; what hair hides
    # (earrings) is rejected rightly.
    rejected = {name: r.reason for head in heads for name, r in head.rejected_groups.items()}
    assert {reason for reason in rejected.values() if "changed nothing" not in reason} == set()


def test_a_person_begins_neutral_and_shows_other_expressions_after() -> None:
    for seed in range(20):
        names = expressions_of(seed, 6)
        assert names[0] == "neutral"
        assert len(set(names)) == 6
    assert len({expressions_of(seed, 2)[1] for seed in range(300)}) > 15
    assert len({expressions_of(seed, 1)[0] for seed in range(300)}) > 15  # of 22
    with pytest.raises(DataError, match="expressions: got 0, expected 1 to"):
        DigitalHumans(TINY, expressions=0)
    with pytest.raises(DataError, match="size_px: got 8, expected 16 to 4096"):
        Drawing(8)


def test_a_share_of_the_persons_wears_one_thing_by_lot(root: Path, tmp_path: Path) -> None:
    dressed = [seed for seed in range(2_000) if accessories_of(seed, 0.3)]
    assert len(dressed) == pytest.approx(600, abs=62)  # three standard deviations
    assert {len(accessories_of(seed, 0.3)) for seed in dressed} == {1}
    assert all(accessories_of(seed, 1.0) == accessories_of(seed, 0.3) for seed in dressed)
    assert {accessories_of(seed, 1.0)[0].kind for seed in range(300)} == {
        thing.accessory.kind for thing in ACCESSORIES
    }
    build(tmp_path, DigitalHumans(TINY, "digital6", expressions=2, worn_share=1.0), [PERSON])
    (kind,) = {worn.kind for worn in accessories_of(PERSON, 1.0)}
    assert [group.accessories for group in AnyHead(tmp_path).heads[0].groups] == [(kind,), (kind,)]
    bare = next(
        group for group in AnyHead(root).groups if group.head.subset == layout.DIGITAL_HUMAN
    )
    assert bare.record.accessories == ()
    # Where nobody does, it is the recipe of the sets that were built before anybody could.
    assert set(DigitalHumans().describe()) == {"kind", "drawing", "rig", "expressions"}
    assert DigitalHumans(worn_share=0.5).describe()["worn_share"] == 0.5
    with pytest.raises(DataError, match=r"worn_share: got 1\.5, expected 0 to 1"):
        DigitalHumans(TINY, worn_share=1.5)


def test_a_draft_is_the_same_person_from_fewer_hairs(root: Path, tmp_path: Path) -> None:
    recipe = DigitalHumans(TINY, "digital6", expressions=1, draft=True)
    build(tmp_path, recipe, [PERSON])
    assert read_manifest(tmp_path / layout.DIGITAL_HUMAN).recipe["draft"] is True
    assert verify(tmp_path, Thoroughness(silhouettes=True, redraw=1)) == []
    (drafted,) = AnyHead(tmp_path).groups
    (full,) = (g for g in AnyHead(root).groups if g.head.subset == layout.DIGITAL_HUMAN)
    assert drafted.record.attributes == full.record.attributes
    ours, truth = drafted.capture().views(), full.capture().views()
    assert not torch.equal(ours.rgb, truth.rgb)
    # 20 persons had 20 dB (curls, which another lot of hairs moves) to 44 dB (bald).
    difference = composite(ours.rgb, ours.alpha, GREY) - composite(truth.rgb, truth.alpha, GREY)
    assert float(difference.square().mean()) < 10**-2.4


def test_full_detail_is_the_recipe_of_sets_from_before_there_were_drafts() -> None:
    assert "draft" not in DigitalHumans().describe()


def test_evaluation_persons_are_16_with_different_expressions_and_some_accessories() -> None:
    roles = ready.EVALUATION_ROLES
    assert len(roles) == 16
    assert len({role.expression for role in roles.values()}) == 16
    kinds = {thing.id: thing.accessory.kind for thing in ACCESSORIES}
    worn = [kinds[name] for role in roles.values() for name in role.worn]
    assert len(set(worn)) == len(worn) == 5
    recipe = ready.EvaluationHeads()
    assert (recipe.rig, recipe.drawing.size_px) == ("anyhead80", 512)
    assert list(recipe.describe()["roles"]) == [str(seed) for seed in roles]


def test_training_never_sees_an_evaluation_seed() -> None:
    ranges = (ready.EVALUATION_SEEDS, ready.TRAINING_SEEDS, ready.TRAINING_SEEDS_AI)
    for i, one in enumerate(ranges):
        for other in ranges[i + 1 :]:
            assert one.stop <= other.start or other.stop <= one.start
    assert set(ready.EVALUATION_ROLES) <= set(ready.EVALUATION_SEEDS)
    assert ready.training_seeds(3) == [1_000_000, 1_000_001, 1_000_002]
    with pytest.raises(DataError, match="expected at most 1000000"):
        ready.training_seeds(1_000_001)
    with pytest.raises(DataError, match="seed 5 is one of 0 to 99999, which are for evaluation"):
        ready.check_training_seeds([1_000_000, 5])


def body(spec: HeadSpec) -> torch.Tensor:
    """Return bones, flesh and skin as a vector; controls that are not set are 0."""
    from any3davatar.anyhead.heads.names import SHAPE_CONTROLS

    identity, shape = spec.identity, dict(spec.identity.shape)
    return torch.tensor(
        [
            identity.masculine,
            identity.african,
            identity.asian,
            identity.european,
            identity.weight,
            spec.skin.tone,
            *(shape.get(name, 0.0) for name in SHAPE_CONTROLS),
        ]
    )


def test_no_training_person_is_an_evaluation_person_under_another_seed() -> None:
    evaluation = torch.stack([body(people.person(seed)) for seed in ready.EVALUATION_ROLES])
    training = torch.stack([body(people.person(seed)) for seed in ready.training_seeds(1000)])
    imagined = torch.stack(
        [
            body(spec_of(sample_prompt(seed), seed))
            for seed in ready.training_seeds(400, ready.TRAINING_SEEDS_AI)
        ]
    )
    among_evaluation = torch.cdist(evaluation, evaluation) + 100 * torch.eye(16)
    nearest = torch.cdist(evaluation, torch.cat([training, imagined])).min()
    # Persons differ by about 5 in these units; the same person would be at 0.
    assert float(nearest) > 2
    assert float(among_evaluation.min()) > 2


@pytest.mark.slow
def test_a_training_set_grows_and_keeps_its_persons_apart(assets: None, tmp_path: Path) -> None:
    ready.build_train(tmp_path, ready.TrainingSize(1, 1), size_px=48, workers=2)
    first = contents(tmp_path)
    ready.build_train(tmp_path, ready.TrainingSize(2, 1), size_px=48, workers=2)
    assert statistics(tmp_path).identities == 2
    kept = {path for path in first if path.endswith(".png")}
    assert all(contents(tmp_path)[path] == first[path] for path in kept)
    assert verify(tmp_path) == []
    with pytest.raises(DataError, match="heads with accessories are digital humans"):
        ready.TrainingSize(1, 2)
