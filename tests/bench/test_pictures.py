from pathlib import Path

import pytest
import torch

from a3d_bench.captures import open_captures
from a3d_bench.errors import BenchError
from a3d_bench.pictures import (
    portrait_of,
    protocol_cameras,
    source_size_px,
    truth_view,
    write_truth,
)
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.types import Capture
from any3davatar.core.framing import framed
from any3davatar.core.images import composite
from any3davatar.core.rigs import turntable
from any3davatar.io import read_png
from tests.bench.capture_folders import write_transforms

SMALL = ("picture.size_px=20", "picture.background=[0.2,0.4,0.6]")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def protocol() -> Protocol:
    return load_protocol("smoke", SMALL)


@pytest.fixture
def capture(tmp_path: Path, cache: Path, protocol: Protocol) -> Capture:
    write_transforms(tmp_path / "head", turntable(4, size_px=62), with_alpha=True)
    return open_captures(protocol, tmp_path / "head").captures[0]


def test_the_truth_over_the_background_is_the_resampled_picture(
    capture: Capture, protocol: Protocol
) -> None:
    background = torch.tensor(protocol.picture.background)
    for v in range(len(capture)):
        expected, camera = framed(
            capture.views[v].read(), capture.cameras[v], background, size_px=20, vertical_fov_deg=24
        )
        truth = truth_view(capture, v, protocol.picture)
        over = composite(truth.rgb, truth.alpha, background)
        # Half a level of colour, and half a level of alpha times the distance to the background.
        torch.testing.assert_close(over, expected.rgb, rtol=0, atol=1.0 / 255)
        torch.testing.assert_close(truth.alpha, expected.alpha, rtol=0, atol=0.51 / 255)
        assert torch.equal(protocol_cameras(capture, protocol.picture).K[v], camera.K)


def test_prepared_truth_is_linked_from_the_cache_and_made_once(
    tmp_path: Path, capture: Capture, protocol: Protocol
) -> None:
    first, second = tmp_path / "a" / "000.png", tmp_path / "b" / "000.png"
    write_truth(capture, 0, protocol.picture, first)
    digest = capture.views[0].sha256
    cached = next((tmp_path / "cache" / "truth").glob("*.png"))
    assert cached.samefile(first)
    stamp = cached.stat().st_mtime_ns
    write_truth(capture, 0, protocol.picture, second)
    write_truth(capture, 0, protocol.picture, second)
    assert second.samefile(first)
    assert cached.stat().st_mtime_ns == stamp
    assert capture.views[0].sha256 == digest
    rgb, alpha = read_png(first)
    truth = truth_view(capture, 0, protocol.picture)
    assert torch.equal(rgb, truth.rgb)
    assert alpha is not None
    assert torch.equal(alpha, truth.alpha)


def test_every_part_of_the_picture_rule_makes_another_truth(
    cache: Path, capture: Capture, protocol: Protocol
) -> None:
    for override in ((), ("picture.size_px=24",), ("picture.vertical_fov_deg=30.0",)):
        truth_view(capture, 0, load_protocol("smoke", [*SMALL, *override]).picture)
    truth_view(capture, 1, protocol.picture)
    truth_view(capture, 1, protocol.picture)
    assert len(list((cache / "truth").glob("*.png"))) == 4


def test_a_damaged_picture_names_capture_view_and_file(
    tmp_path: Path, capture: Capture, protocol: Protocol
) -> None:
    path = tmp_path / "head" / "images" / "0.png"
    path.write_bytes(path.read_bytes()[:50])
    index = capture.view_names.index("images/0")
    with pytest.raises(BenchError, match=rf"head, view {index} \(images/0\): .*0\.png"):
        truth_view(capture, index, protocol.picture)
    path.unlink()
    with pytest.raises(BenchError, match=rf"head, view {index} \(images/0\): .*0\.png"):
        write_truth(capture, index, protocol.picture, tmp_path / "000.png")
    assert not (tmp_path / "000.png").exists()


def test_a_method_is_shown_what_the_protocol_says(capture: Capture, protocol: Protocol) -> None:
    portrait = portrait_of(capture, protocol)
    truth = truth_view(capture, capture.input_view, protocol.picture)
    over = composite(truth.rgb, truth.alpha, portrait.background)
    torch.testing.assert_close(portrait.rgb, over, rtol=0, atol=0.51 / 255)  # rounded to 8 bits
    assert torch.equal((portrait.rgb * 255).round() / 255, portrait.rgb)
    assert portrait.alpha is not None
    assert portrait.camera is not None
    assert portrait.camera.width == 20
    hidden = load_protocol("smoke", [*SMALL, "input.shows_alpha=false", "input.shows_camera=false"])
    portrait = portrait_of(capture, hidden)
    assert portrait.alpha is None
    assert portrait.camera is None


@pytest.mark.parametrize(("size_px", "fov"), [(64, 24.0), (128, 24.0), (100, 37.5), (64, 50.0)])
def test_sources_are_drawn_so_large_that_the_window_has_the_wanted_size(
    size_px: int, fov: float
) -> None:
    overrides = [f"picture.size_px={size_px}", f"picture.vertical_fov_deg={fov}"]
    picture = load_protocol("smoke", overrides).picture
    source_px = source_size_px(picture)
    camera = turntable(1, size_px=source_px)[0]
    half_window = camera.K[1, 1] * torch.tan(torch.deg2rad(torch.tensor(fov / 2)))
    assert abs(2 * float(half_window) - size_px) < 1
    assert source_size_px(load_protocol("anyhead").picture) == 512
    assert source_size_px(load_protocol("anyhead-64").picture) == 140
