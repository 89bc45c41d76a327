"""Views that are not what they should be are found and named; poor ones are left in peace."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from a3d_bench.store import RunFolder
from a3d_bench.validate import validate
from any3davatar.core import Similarity
from any3davatar.io import write_png
from tests.bench.seen_head import (
    billboard,
    rendered,
    truth_pictures,
    turned,
    write_method,
    write_seen_run,
)

MOVED = Similarity(1.05, turned(6, (0, 1, 0.2)), torch.tensor([0.03, 0.02, 0.0]))


def kinds(run: RunFolder) -> list[tuple[str, int | None]]:
    row = run.captures()[0]
    return [(finding.kind, finding.view) for finding in validate(run, "m", row)]


def blurred(pictures: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(pictures, 8), pictures.shape[-2:], mode="bilinear")


def noisy(pictures: Tensor) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return (pictures + 0.15 * torch.randn(pictures.shape, generator=g)).clamp(0, 1)


def mean_head(pictures: Tensor) -> Tensor:
    """Return what a blurred average of other people shows."""
    return blurred(torch.stack([truth_pictures(12), truth_pictures(3)]).mean(0))


def one_picture(pictures: Tensor) -> Tensor:
    return pictures[7].expand_as(pictures)


GOOD: dict[str, Callable[[], Tensor]] = {
    "the truth": truth_pictures,
    "a guess": rendered,
    "blurred": lambda: blurred(truth_pictures()),
    "noisy": lambda: noisy(truth_pictures()),
    "a little turned": lambda: rendered(MOVED),
    "another head": lambda: truth_pictures(12),
    "darker": lambda: 1 - (1 - truth_pictures()) * 1.15,
    "a blurred mean of others": lambda: mean_head(truth_pictures()),
    "a billboard": lambda: billboard(truth_pictures()),
    "one picture for all": lambda: one_picture(truth_pictures()),
}


@pytest.mark.parametrize("name", GOOD)
def test_poor_pictures_of_the_right_kind_are_left_in_peace(tmp_path: Path, name: str) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "m", GOOD[name]().clamp(0, 1))
    assert kinds(run) == []


def linear(srgb: Tensor) -> Tensor:
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def over_black(pictures: Tensor) -> Tensor:
    behind = (truth_pictures() > 0.999).all(1, keepdim=True)
    return pictures.masked_fill(behind, 0.0)


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "upside_down": lambda p: p.flip(-2),
    "mirrored": lambda p: p.flip(-1),
    "channels_swapped": lambda p: p.flip(-3),
    "linear_light": linear,
    "wrong_background": over_black,
    "azimuth_reversed": lambda p: p[[(14 - v) % 16 for v in range(16)]],
    "views_shifted": lambda p: p.roll(3, 0),
}


@pytest.mark.parametrize("source", ["the truth", "a guess", "blurred", "a little turned"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_conversion_of_all_views_is_named(tmp_path: Path, kind: str, source: str) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "m", WRONG[kind](GOOD[source]()))
    (found,) = validate(run, "m", row)
    # A turned head, nearly its own mirror image, can be flipped or seen from the other side.
    ambiguous = kind == "mirrored" and f"nearly as likely: {kind}" in found.message
    assert found.kind == kind or ambiguous
    assert found.view is None
    stored = json.loads((run.path / "validation" / "m" / f"{row.slug}.json").read_text())
    assert (run.path / "validation" / "m" / stored[0]["thumbnail"]).is_file()


def test_single_views_are_named(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    pictures = rendered().clone()
    pictures[3] = pictures[3].flip(-1)
    pictures[[5, 10]] = pictures[[10, 5]]
    pictures[0] = 1.0

    def change(views: Path) -> None:
        (views / "001.png").unlink()
        (views / "002.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        write_png(views / "004.png", torch.rand(3, 20, 30))
        write_png(views / "099.png", torch.rand(3, 20, 30))

    write_method(run, row, "m", pictures, change=change)
    found = validate(run, "m", row)
    assert sorted((f.kind, f.view) for f in found if f.view is not None) == [
        ("blank", 0),
        ("mirrored", 3),
        ("missing", 1),
        ("swapped", 5),
        ("swapped", 10),
        ("unreadable", 2),
        ("wrong_size", 4),
    ]
    assert [(f.kind, f.message) for f in found if f.view is None] == [
        ("extra", "views/099.png is no view of the protocol; it is not looked at")
    ]
    by_view = {f.view: f for f in found}
    assert by_view[5].numbers["other"] == 10
    assert "30 x 20 pixels, expected 128 x 128" in by_view[4].message


@pytest.mark.parametrize(
    "name", ["the truth", "a guess", "blurred", "noisy", "darker", "a blurred mean of others"]
)
def test_exchanged_views_are_named_and_no_other(tmp_path: Path, name: str) -> None:
    run, row = write_seen_run(tmp_path / "run")
    pictures = GOOD[name]().clamp(0, 1).clone()
    pictures[[3, 11]] = pictures[[11, 3]]  # one side and the other: 180 degrees apart
    write_method(run, row, "m", pictures)
    found = validate(run, "m", row)
    assert [(f.kind, f.view, f.numbers["other"]) for f in found] == [
        ("swapped", 3, 11),
        ("swapped", 11, 3),
    ]
    assert "is exchanged with view 11" in found[0].message


def test_two_pairs_of_exchanged_views_are_told_apart(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    pictures = blurred(truth_pictures()).clone()
    pictures[[3, 11, 0, 7]] = pictures[[11, 3, 7, 0]]
    write_method(run, row, "m", pictures)
    found = {f.view: f.numbers["other"] for f in validate(run, "m", row)}
    assert found == {0: 7, 3: 11, 7: 0, 11: 3}


def test_a_picture_that_stands_twice_is_named(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    pictures = rendered().clone()
    pictures[2] = pictures[9]
    write_method(run, row, "m", pictures)
    (found,) = validate(run, "m", row)
    assert (found.kind, found.view, found.message) == (
        "repeated",
        2,
        "shows the picture of view 9",
    )


def test_findings_are_replaced_when_the_pictures_are(tmp_path: Path) -> None:
    run, row = write_seen_run(tmp_path / "run")
    write_method(run, row, "m", truth_pictures().flip(-2))
    assert kinds(run) == [("upside_down", None)]
    shutil.rmtree(run.capture_folder("predictions", "m", row.slug))
    write_method(run, row, "m", truth_pictures())
    assert kinds(run) == []
    assert json.loads((run.path / "validation" / "m" / f"{row.slug}.json").read_text()) == []
    assert not (run.path / "validation" / "m" / row.slug).exists()
