from dataclasses import replace
from pathlib import Path

import pytest
import torch

from any3davatar.model import PRESETS
from any3davatar.model.config import ModelConfig
from any3davatar.model.table import cost_of, markdown
from tests.model.tiny import EXTRAS, PAPER, inputs, network

PAGE = Path(__file__).parents[2] / "docs" / "model.md"


def seen_channels(c: ModelConfig) -> tuple[int, int]:
    """Return what tokenizers see at a pixel: portrait and rays; the state and what is beside."""
    beside = c.portrait_channels * c.aligned_image + 4 * (c.hull_ways > 0)
    return 6 + c.portrait_channels, 9 + beside


def forward_flops(c: ModelConfig) -> int:
    """Return the closed form of a visit: two operations for each multiply-add of a product."""
    d, p2 = c.width, c.patch_px**2
    view, sequence, points = c.view_tokens, c.tokens, c.gaussians
    image, state = seen_channels(c)
    tokenizers = view * (image * p2 * d + d * d) + 4 * view * (state * p2 * d + d * d)
    condition = 256 * d + d * d + 2 * d * d * c.pooled_portrait
    block = sequence * (4 + 2 * c.mlp_ratio) * d * d + 2 * sequence**2 * d + 6 * d * d
    final = 2 * d * d
    h = 2 * c.point_channels
    decoder = 4 * view * d * p2 * (c.point_channels or 14)
    decoder += points * (c.point_channels * h + (h and h * 14))
    to_world = points * 9
    palette = c.palette_colors * (view * d + view * 3 + points * 3)
    own = 1 + c.color_skip  # colours of a pixel's own: the mean's, the portrait's
    palette += 4 * view * d * (own + c.palette_colors) if c.palette_colors else 0
    looked_at = 3 * points * 9 if c.color_skip or c.silhouette else 0  # to the world, projected
    looked_at += 5 * points * 9 if c.color_skip else 0  # which starts the front camera sees
    read = c.hull_features + c.hull_waves
    follows = c.hull_waves * c.hull_features + c.hull_ways * (read + 4 * 5 * (c.size_px // 2) ** 2)
    start = palette + looked_at + follows
    return 2 * (tokenizers + condition + c.blocks * block + final + decoder + to_world + start)


def parameters(c: ModelConfig) -> int:
    d, p2, channels, h = c.width, c.patch_px**2, c.point_channels, 2 * c.point_channels

    def linear(inputs: int, outputs: int) -> int:
        return (inputs + 1) * outputs

    image, state = seen_channels(c)
    tokenizers = linear(image * p2, d) + linear(state * p2, d) + 2 * linear(d, d)
    positions = c.tokens * d * c.learned_positions
    condition = linear(256, d) + linear(d, d) + 2 * linear(d, d) * c.pooled_portrait
    mlp = linear(d, c.mlp_ratio * d) + linear(c.mlp_ratio * d, d)
    block = linear(d, 3 * d) + linear(d, d) + mlp + linear(d, 6 * d)
    decoder = linear(d, p2 * (channels or 14))
    decoder += linear(channels, h) + linear(h, 14) if channels else 0
    colors = c.palette_colors
    mixture = c.gaussians * (1 + c.color_skip + colors)
    remix = linear(d, 1 + c.color_skip + colors)
    palette = linear(d, colors) + colors * c.view_tokens + mixture + remix if colors else 0
    around = tokenizers + positions + condition + palette
    return around + c.blocks * block + linear(d, 2 * d) + decoder


@pytest.mark.parametrize("config", [PAPER, EXTRAS, PRESETS["mini"]])
def test_counted_cost_equals_the_closed_form(config: ModelConfig) -> None:
    cost = cost_of(config)
    assert cost.forward_flops == forward_flops(config)
    assert cost.parameters == parameters(config)


@pytest.mark.parametrize("config", [PAPER, EXTRAS])
def test_counted_training_memory_is_what_autograd_really_keeps(config: ModelConfig) -> None:
    model = network(config, image_head=True)
    arguments = inputs(model, batch=1)
    owned = (*model.parameters(), *model.buffers(), *arguments)
    known = {tensor.untyped_storage().data_ptr() for tensor in owned}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        prediction = model(*arguments, decode_images=True)
    saved = sum(storage.nbytes() for storage in kept.values())
    results = [prediction.images, *prediction.gaussians.tensors().values()]
    shown = sum(tensor.untyped_storage().nbytes() for tensor in results)
    assert saved <= cost_of(config).training_bytes <= saved + shown


def test_recomputation_keeps_less() -> None:
    cost = cost_of(replace(PAPER, blocks=6))
    assert cost.recomputed_bytes < 0.7 * cost.training_bytes  # 6 blocks' insides are most of it


def test_page_says_what_mini_costs() -> None:
    assert markdown({"mini": PRESETS["mini"]}).splitlines()[-1] in PAGE.read_text().splitlines()


@pytest.mark.slow
def test_page_says_what_every_preset_costs() -> None:
    assert markdown(PRESETS) in PAGE.read_text()
    for config in PRESETS.values():
        assert cost_of(config).forward_flops == forward_flops(config)
        assert cost_of(config).parameters == parameters(config)


def test_full_preset_is_about_half_a_billion_parameters() -> None:
    assert 0.4e9 < parameters(PRESETS["full"]) < 0.55e9
