"""Networks small enough for tests, opened so that no part of them is silent."""

from dataclasses import replace

import torch

from any3davatar.model import Any3DAvatar, Hull, ModelConfig

PAPER = ModelConfig(
    size_px=16, patch_px=4, width=32, blocks=2, heads=2, point_channels=8, image_channels=4
)
EXTRAS = replace(
    PAPER,
    vertical_fov_deg=24.0,
    depth_reach=0.75,
    learned_positions=True,
    aligned_image=True,
    hull_start=True,
    color_skip=True,
    pooled_portrait=True,
    palette_colors=3,
    silhouette=True,
    hull_ways=2,
    hull_waves=4,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hull(config: ModelConfig, seed: int = 0) -> Hull:
    view, generator = (4, config.size_px, config.size_px), seeded(seed)
    bend = config.depth_reach * (1.8 * torch.rand(view, generator=generator) - 0.9)
    return Hull(
        depth=config.radius + bend,
        opacity=torch.rand(view, generator=generator),
        rgb=torch.rand(4, 3, *view[1:], generator=generator),
        **ways(config, generator),
    )


def ways(config: ModelConfig, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return ways that change every channel of every view by about a tenth of its range."""
    count, waves, side = config.hull_ways, config.hull_waves, config.size_px // 2
    width = config.hull_features + waves
    return {
        "frequencies": torch.randn(waves, config.hull_features, generator=generator),
        "phases": torch.randn(waves, generator=generator),
        "reading": 0.1 * torch.randn(count, width, generator=generator),
        "reading_bias": 0.1 * torch.randn(count, generator=generator),
        "ways": 0.1 * torch.randn(count, 4, 5, side, side, generator=generator),
    }


def network(
    config: ModelConfig, *, image_head: bool = False, recompute_activations: bool = False
) -> Any3DAvatar:
    return Any3DAvatar(
        config,
        image_head=image_head,
        hull=hull(config) if config.hull_start else None,
        recompute_activations=recompute_activations,
    )


def opened(model: Any3DAvatar) -> Any3DAvatar:
    """Return the network with its zero gates set to something, as after some training."""
    generator = seeded(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1, generator=generator)
    return model


def inputs(
    model: Any3DAvatar, batch: int = 2, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return portrait, its rays from the front camera, a start state and times in (0, 1)."""
    size, generator = model.config.size_px, seeded(seed)
    portrait = torch.rand(batch, model.config.portrait_channels, size, size, generator=generator)
    rays = model.canonical.plucker()[:1].expand(batch, -1, -1, -1)
    state = model.start_state(batch, generator)
    return portrait, rays, state, torch.rand(batch, generator=generator)
