"""`benchmarks.held_out`: parts of the error, and how heads are summed up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from any3davatar.core.images import Views
from any3davatar.model import Any3DAvatar, save_weights
from benchmarks.held_out import Row, error_parts, framed_like_mini, outline, summary
from tests.model.tiny import PAPER

SIDE = 20


def truth() -> Views:
    alpha = torch.zeros(1, 1, SIDE, SIDE)
    alpha[..., 5:15] = 1.0
    return Views(0.5 * torch.ones(1, 3, SIDE, SIDE), alpha)


def test_an_error_of_the_outline_is_all_outline() -> None:
    ours, missing = truth(), truth()
    missing.alpha[..., 14:15] = 0.5
    missing.rgb[..., 14:15] = 0.75
    parts = error_parts(missing, ours)
    assert parts["outline"] == pytest.approx(3 * SIDE * 0.25**2)
    assert parts["smooth"] == parts["detail"] == 0
    assert outline(missing, ours).sum() == SIDE


def test_an_even_error_is_smooth_and_a_fine_one_is_detail() -> None:
    brighter, checkered = truth(), truth()
    brighter.rgb[...] += 0.1
    signs = torch.ones(SIDE, SIDE)
    signs[::2] *= -1
    signs[:, ::2] *= -1
    checkered.rgb[...] += 0.1 * signs
    whole = 3 * SIDE**2 * 0.01
    even, fine = error_parts(brighter, truth()), error_parts(checkered, truth())
    assert even == pytest.approx({"outline": 0, "smooth": whole, "detail": 0}, abs=1e-4)
    assert fine["outline"] == pytest.approx(0, abs=1e-4)
    assert fine["smooth"] < 0.01 * whole  # one in 25 squared, more at the border
    assert sum(fine.values()) == pytest.approx(whole, rel=1e-4)


def row(**changes: Any) -> Row:
    plain = Row(
        id="a",
        worn=(),
        psnr_db=20.0,
        psnr_db_with_true_outline=24.0,
        lpips=0.05,
        psnr_db_by_stratum={"front": 22.0, "side": 19.0},
        error_parts={"outline": 6.0, "smooth": 2.0, "detail": 0.0},
        place_variances={"size": 0.0009},
    )
    return replace(plain, **changes)


def test_a_summary_is_a_mean_over_heads_and_errors_are_shares_of_all() -> None:
    other = row(
        id="b",
        worn=("glasses",),
        psnr_db=18.0,
        lpips=0.07,
        psnr_db_by_stratum={"front": 20.0},
        error_parts={"outline": 4.0, "smooth": 0.0, "detail": 8.0},
        place_variances={"size": 0.0023},
    )
    told = summary([row(), other])
    assert told["psnr_db"] == 19.0
    assert told["lpips"] == 0.06
    assert told["psnr_db_by_stratum"] == {"front": 21.0, "side": 19.0, "back": None}
    assert (told["psnr_db_bare"], told["psnr_db_dressed"]) == (20.0, 18.0)
    assert told["psnr_db_by_thing_worn"] == {"glasses": {"heads": 1, "psnr_db": 18.0}}
    assert told["error_shares"] == {"outline": 0.5, "smooth": 0.1, "detail": 0.4}
    assert told["places"] == {"size": 0.04}  # root of the mean of the variances
    assert [each["id"] for each in told["by_head"]] == ["a", "b"]


def test_weights_that_see_heads_otherwise_than_mini_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "tiny.safetensors", Any3DAvatar(PAPER))
    expected = r"got a network of 16 pixels and 50 degrees, expected 64 and 24, as mini"
    with pytest.raises(SystemExit, match=expected):
        framed_like_mini(tmp_path / "tiny.safetensors")
