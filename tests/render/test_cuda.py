"""The CUDA backend: what can be known without a GPU, and parity where there is one."""

import inspect
from typing import Any

import pytest
import torch

from any3davatar.core import InvalidInput
from any3davatar.render import Backend, cpu, cuda, reference
from any3davatar.render.settings import RasterSettings


def test_the_installed_gsplat_takes_every_argument_that_is_passed() -> None:
    from gsplat import rasterization

    parameters = inspect.signature(rasterization).parameters
    passed = {
        "means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "width", "height",
        "near_plane", "far_plane", "radius_clip", "eps2d", "sh_degree", "packed", "backgrounds",
        "render_mode", "rasterize_mode",
    }  # fmt: skip
    source = inspect.getsource(cuda.rasterize)
    assert all(f"{name}=" in source for name in passed)
    assert passed <= set(parameters)
    required = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
    assert required <= passed


@pytest.mark.parametrize("backend", [cpu, cuda])
def test_all_backends_share_one_signature(backend: Backend) -> None:
    ours = inspect.signature(backend.rasterize).parameters
    definition = inspect.signature(reference.rasterize).parameters
    assert list(ours) == list(definition)
    assert [p.kind for p in ours.values()] == [p.kind for p in definition.values()]


def arguments(device: str) -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    extrinsics = torch.eye(4).repeat(1, 2, 1, 1)
    extrinsics[..., 2, 3] = 2.7
    tensors = {
        "means": 0.3 * torch.randn(1, 500, 3, generator=g),
        "quats": torch.randn(1, 500, 4, generator=g),
        "scales": 0.05 * torch.rand(1, 500, 3, generator=g) + 0.005,
        "opacities": torch.rand(1, 500, generator=g),
        "sh": 0.4 * torch.randn(1, 500, 9, 3, generator=g),
        "world_to_camera": extrinsics,
        "K": torch.tensor([[70.0, 0, 32], [0, 70, 30], [0, 0, 1]]).repeat(1, 2, 1, 1),
        "background": torch.rand(1, 2, 3, generator=g),
    }
    return {"colors": None} | {name: t.to(device) for name, t in tensors.items()}


def test_tensors_on_another_device_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"float32 tensors on a CUDA device; got .* on cpu"):
        cuda.rasterize(
            **arguments("cpu"), width=64, height=60, settings=RasterSettings(), with_depth=True
        )


@pytest.mark.gpu
def test_gsplat_on_a_gpu_equals_the_reference() -> None:
    settings: dict[str, Any] = {
        "width": 64,
        "height": 60,
        "settings": RasterSettings(),
        "with_depth": True,
    }
    ours = reference.rasterize(**arguments("cpu"), **settings)
    theirs = cuda.rasterize(**arguments("cuda"), **settings)
    assert ours.depth is not None
    assert theirs.depth is not None
    for a, b in zip(ours, theirs, strict=True):
        assert a is not None
        assert b is not None
        difference = (a - b.cpu()).abs().flatten()
        # Thresholds flip single pixels between any two float32 implementations.
        assert float(difference.quantile(0.999)) < 1e-4
