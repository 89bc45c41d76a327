"""A sample is a function of its number; its views, cameras and clean state belong together."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.readers import AnyHead, GroupEntry
from any3davatar.anyhead.rigs import make_rig
from any3davatar.core import Gaussians
from any3davatar.core.rigs import canonical_four
from any3davatar.render import render
from any3davatar.train.batches import shares
from any3davatar.train.log import read_log
from any3davatar.train.loop import train
from any3davatar.train.samples import (
    HeadSamples,
    Skipped,
    TrainBatch,
    canonical_indices,
    group_of,
    input_candidates,
)
from tests.train.tiny_run import BEANS, CONFIG, MACHINE, PAPER_CONFIG, bean, make_beans

Beans = tuple[GroupEntry, ...]
WHITE = torch.ones(3)


def sample(samples: HeadSamples, number: int) -> TrainBatch:
    read = samples[number]
    assert isinstance(read, TrainBatch)
    return read


def seed_of_bean(samples: HeadSamples, number: int) -> int:
    return samples.groups[group_of(samples.config, number, len(samples.groups))].head.seed


def mirrored_bean(seed: int) -> Gaussians:
    head = bean(seed)
    means = head.means * torch.tensor([-1.0, 1.0, 1.0])
    return Gaussians(means, head.quats, head.scales, head.opacities, head.sh)


def test_targets_are_what_their_cameras_see_mirrored_or_not(beans: Beans) -> None:
    samples = HeadSamples(beans, CONFIG)
    plain, flipped = 0, 0
    for number in range(8):
        batch = sample(samples, number)
        truth = batch.target_rgb[0]
        errors = [
            float((render(head, batch.target_cameras[0], WHITE).rgb - truth).abs().mean())
            for head in (bean(seed_of_bean(samples, number)),
                         mirrored_bean(seed_of_bean(samples, number)))
        ]  # fmt: skip
        # Cropped and averaged down against rendered at once: edges are softer. The wrong head of
        # the two is far off.
        assert min(errors) < 0.04
        assert max(errors) > 2 * min(errors)
        plain, flipped = plain + (errors[0] < errors[1]), flipped + (errors[1] < errors[0])
    assert plain > 0
    assert flipped > 0


def test_clean_views_are_what_the_canonical_cameras_see(beans: Beans) -> None:
    samples = HeadSamples(beans, CONFIG)
    model = CONFIG.model
    cameras = canonical_four(
        model.size_px, radius=model.radius, vertical_fov_deg=model.vertical_fov_deg
    )
    for number in range(4):
        batch = sample(samples, number)
        seed = seed_of_bean(samples, number)
        errors = [
            float((render(head, cameras, WHITE).rgb - batch.canonical[0]).abs().mean())
            for head in (bean(seed), mirrored_bean(seed))
        ]
        assert min(errors) < 0.03  # the window is rounded to whole source pixels, here 18 of 40
        assert torch.equal(batch.canonical[:, 0], batch.portrait[:, :3])


def test_paper_presets_keep_the_whole_picture(beans: Beans) -> None:
    batch = sample(HeadSamples(beans, PAPER_CONFIG), 0)
    K = canonical_four(PAPER_CONFIG.model.size_px).K[0]
    assert torch.allclose(batch.K, K.expand_as(batch.K), atol=1e-4)  # float32, values of 17


def test_an_epoch_visits_every_group_once_and_the_next_in_another_order() -> None:
    order = [group_of(CONFIG, n, 50) for n in range(100)]
    assert sorted(order[:50]) == sorted(order[50:]) == list(range(50))
    assert order[:50] != order[50:]
    assert order == [group_of(CONFIG, n, 50) for n in range(100)]
    assert order != [group_of(replace(CONFIG, seed=1), n, 50) for n in range(100)]


def test_a_sample_is_the_same_whoever_asks_and_whenever(beans: Beans) -> None:
    first = sample(HeadSamples(beans, CONFIG), 5)
    other = HeadSamples(beans, CONFIG)
    sample(other, 0)
    again = sample(other, 5)
    for name in ("portrait", "canonical", "target_rgb", "world_to_camera", "K"):
        assert torch.equal(getattr(first, name), getattr(again, name))


def test_worker_processes_read_the_same_samples(beans: Beans) -> None:
    samples = HeadSamples(beans, replace(CONFIG, total_samples=4, warmup_samples=0))
    read = [
        list(shares(samples, first=0, micro_batch=2, rank=0, processes=1, workers=workers))
        for workers in (0, 1)
    ]
    for here, there in zip(*read, strict=True):
        for ours, theirs in zip(here.micro_batches, there.micro_batches, strict=True):
            assert torch.equal(ours.target_rgb, theirs.target_rgb)
            assert torch.equal(ours.numbers, theirs.numbers)


def test_targets_are_different_views(beans: Beans) -> None:
    batch = sample(HeadSamples(beans, replace(CONFIG, views_per_sample=8)), 0)
    counts = Counter(tuple(m.flatten().tolist()) for m in batch.world_to_camera[0])
    assert len(counts) == 8


def test_portraits_may_come_from_a_range_around_the_front(beans: Beans) -> None:
    capture = beans[0].capture()  # eight level views, 45 degrees apart
    assert input_candidates(capture, 0) == [capture.input_view]
    assert input_candidates(capture, 50) == [0, 1, 7]
    assert len(input_candidates(capture, 180)) == 8


@pytest.mark.parametrize("rig", ["digital80", "accessory16", "anyhead80"])
def test_every_rig_of_training_data_has_the_canonical_views(rig: str, beans: Beans) -> None:
    made = make_rig(rig, 40, seed=0)
    capture = replace(beans[0].capture(), cameras=made.cameras, input_view=made.input_view)
    found = canonical_indices(capture, 2.7)
    assert found[0] == made.input_view
    assert len(set(found)) == 4


def test_a_group_without_canonical_views_is_refused_by_name(beans: Beans) -> None:
    capture = beans[0].capture()
    assert canonical_indices(capture, 2.7) == [0, 2, 6, 4]
    with pytest.raises(DataError, match=r"dh-0000000/plain: got no view from the front canonical"):
        canonical_indices(capture, 3.5)
    far = HeadSamples(beans, replace(CONFIG, target_distance_min=5.0))
    with pytest.raises(DataError, match="got 0 views at a distance of 5 to 100, expected at least"):
        far[0]


@pytest.fixture
def damaged(tmp_path: Path) -> Beans:
    """Four beans, the second of which has a picture that was cut short."""
    root = tmp_path / "damaged"
    make_beans(root)
    groups = tuple(AnyHead(root).groups)
    for picture in groups[1].folder.glob("*.png"):
        picture.write_bytes(picture.read_bytes()[:200])
    return groups


def test_a_broken_picture_stops_the_run_and_is_named(damaged: Beans) -> None:
    samples = HeadSamples(damaged, CONFIG)
    with pytest.raises(DataError, match=r"dh-0000001/plain \(sample \d\) can't be read.*on_broken"):
        [samples[n] for n in range(BEANS)]


def test_a_missing_picture_stops_the_run_and_is_named(damaged: Beans) -> None:
    shutil.rmtree(damaged[1].folder)
    samples = HeadSamples(damaged, CONFIG)
    with pytest.raises(DataError, match=r"dh-0000001/plain \(sample \d\) can't be read"):
        [samples[n] for n in range(BEANS)]


def test_a_skipped_sample_is_recorded_and_nothing_takes_its_place(
    damaged: Beans, tmp_path: Path
) -> None:
    config = replace(CONFIG, on_broken="skip", total_samples=8)
    samples = HeadSamples(damaged, config)
    read = [samples[n] for n in range(BEANS)]
    (skipped,) = (s for s in read if isinstance(s, Skipped))
    assert skipped.id.endswith("dh-0000001/plain")
    run = tmp_path / "run"
    run.mkdir()
    train(run, config, MACHINE, damaged, [], "beans")
    entries = [e for e in read_log(run) if e["kind"] == "skipped"]
    assert [e["id"] for e in entries] == [skipped.id] * 2  # two epochs of four
    assert entries[0]["sample"] == skipped.number


def test_an_update_without_a_single_readable_sample_is_an_error(
    damaged: Beans, tmp_path: Path
) -> None:
    config = replace(CONFIG, on_broken="skip", model=PAPER_CONFIG.model)
    with pytest.raises(DataError, match="no sample of the update after 0 could be read"):
        train(tmp_path, config, MACHINE, damaged[1:2], [], "beans")
