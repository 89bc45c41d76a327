from dataclasses import replace

import pytest

from any3davatar.core import InvalidInput
from any3davatar.model import PRESETS
from tests.model.tiny import PAPER


def test_full_preset_has_the_papers_numbers() -> None:
    full = PRESETS["full"]
    assert (full.size_px, full.patch_px, full.width) == (512, 8, 1024)
    assert full.patches == 64
    assert full.tokens == 20_480  # 5 * Nh * Nw, section 3.1
    assert full.gaussians == 1_048_576  # 4 H W


def test_switches_are_off_in_every_preset_but_mini() -> None:
    switches = (
        "learned_positions", "aligned_image", "hull_start", "color_skip", "pooled_portrait",
    )  # fmt: skip
    for name, config in PRESETS.items():
        assert {getattr(config, switch) for switch in switches} == {name == "mini"}


@pytest.mark.border
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": 18}, r"size_px must be divisible by patch_px = 4; got 18"),
        ({"patch_px": 6, "size_px": 12}, r"patch_px must be a power of two; got 6"),
        ({"width": 33}, r"width must be divisible by heads = 2; got 33"),
        ({"blocks": 0}, r"blocks must be at least 1; got 0"),
        ({"blocks": 2.0}, r"ModelConfig.blocks must be a \(finite\) int; got 2.0"),
        ({"hull_start": 1}, r"ModelConfig.hull_start must be a \(finite\) bool; got 1"),
        ({"radius": float("nan")}, r"ModelConfig.radius must be a \(finite\) float; got nan"),
        ({"noise": 3}, r"ModelConfig.noise must be a \(finite\) str; got 3"),
        ({"noise": "voxel"}, r"noise must be one of \('pixel\+plucker', 'pixel', 'latent'\)"),
        ({"image_channels": 6}, r"image_channels must be a multiple of 4; got 6"),
        ({"point_channels": -1}, r"point_channels must be at least 0; got -1"),
        ({"palette_colors": -1}, r"palette_colors must be at least 0; got -1"),
        ({"vertical_fov_deg": 180.0}, r"vertical_fov_deg must lie in \(0, 180\); got 180.0"),
        ({"depth_reach": 2.7}, r"depth_reach must lie in \(0, radius = 2.7\)"),
        ({"offset_reach": -0.1}, r"offset_reach must be at least 0; got -0.1"),
        ({"scale_start_px": 3.0}, r"scale_min_px < scale_start_px < scale_max_px; got \(0.4, 3.0"),
        ({"opacity_logit_reach": 0.0}, r"opacity_logit_reach must be positive; got 0.0"),
        ({"opacity_start": 0.9999}, r"opacity_start must lie in \(0.00091, 0.9991\)"),
        ({"aligned_image": True, "noise": "latent"}, r"aligned_image adds channels to pictures"),
    ],
)
def test_config_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(PAPER, **changes)  # pyright: ignore[reportArgumentType] wrong on purpose
