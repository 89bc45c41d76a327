"""Stage iv: better details in every view. Geometry, and so alpha, is not to be touched."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from any3davatar.anyhead.layout import view_id
from any3davatar.anyhead.matte import WHITE
from any3davatar.anyhead.programs import BackEndFailed, Program, described
from any3davatar.anyhead.stages.pipelines import load_pipeline, to_image, to_tensor
from any3davatar.anyhead.stages.portraits import HeadIdea
from any3davatar.core import Views
from any3davatar.core.images import composite, straight_rgb
from any3davatar.io import FormatError, read_png, write_png


@runtime_checkable
class Enhancement(Protocol):
    """Improves views. Frozen, and fit for sending to another process."""

    def enhanced(self, idea: HeadIdea, views: Views) -> Views:
        """Return (V, ...) views with the same alpha.

        Raises:
            BackEndFailed: there is no usable result for this head.
            DataError: there will be none for any head.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what the recipe records about the back end, as JSON."""
        ...


@dataclass(frozen=True)
class NoEnhancement:
    """Leaves the views as they are: the embedded choice."""

    def enhanced(self, idea: HeadIdea, views: Views) -> Views:
        """See `Enhancement`."""
        return views

    def describe(self) -> Mapping[str, Any]:
        """See `Enhancement`."""
        return {"kind": "off"}


@dataclass(frozen=True)
class CommandEnhancement:
    """Runs a program: a folder ``{input}`` of PNGs on white in, the same names in ``{output}``."""

    program: Program

    def enhanced(self, idea: HeadIdea, views: Views) -> Views:
        """See `Enhancement`."""
        on_white = composite(views.rgb, views.alpha, WHITE)
        with tempfile.TemporaryDirectory(prefix="enhancement-") as name:
            source, target = Path(name) / "views", Path(name) / "enhanced"
            source.mkdir()
            target.mkdir()
            for v, picture in enumerate(on_white):
                write_png(source / f"{view_id(v)}.png", picture)
            self.program.run({"input": str(source), "output": str(target)})
            try:
                results = [read_png(target / f"{view_id(v)}.png")[0] for v in range(len(on_white))]
            except (FormatError, OSError) as error:
                raise BackEndFailed(f"a view did not come back: {error}") from error
        if any(result.shape != on_white.shape[1:] for result in results):
            raise BackEndFailed(
                f"the enhanced views must keep their size; got {tuple(results[0].shape[1:])}, "
                f"expected {tuple(on_white.shape[2:])}"
            )
        return _with_alpha(torch.stack(results), views)

    def describe(self) -> Mapping[str, Any]:
        """See `Enhancement`."""
        return {"kind": "command", "arguments": described(self.program.arguments)}


@dataclass(frozen=True)
class DiffusersEnhancement:
    """Any local image-to-image checkpoint of the `diffusers` package, at low strength.

    Attributes:
        checkpoint: folder that ``DiffusionPipeline.save_pretrained`` wrote.
        strength: how much of the picture is made anew, in (0, 1].
        steps: denoising steps at full strength.
    """

    checkpoint: Path
    strength: float = 0.25
    steps: int = 30

    def enhanced(self, idea: HeadIdea, views: Views) -> Views:
        """See `Enhancement`; every view starts from the same noise."""
        pipeline = load_pipeline("AutoPipelineForImage2Image", self.checkpoint)
        results = [
            to_tensor(
                pipeline(
                    prompt=idea.prompt.text,
                    image=to_image(picture),
                    strength=self.strength,
                    num_inference_steps=self.steps,
                    generator=torch.Generator().manual_seed(idea.seed),
                ).images[0]
            )
            for picture in composite(views.rgb, views.alpha, WHITE)
        ]
        if any(result.shape != views.rgb.shape[1:] for result in results):
            raise BackEndFailed(
                f"the checkpoint makes pictures of {tuple(results[0].shape[1:])} from "
                f"{tuple(views.rgb.shape[2:])}; choose a size that it keeps (a multiple of 64)"
            )
        return _with_alpha(torch.stack(results), views)

    def describe(self) -> Mapping[str, Any]:
        """See `Enhancement`."""
        return {
            "kind": "diffusers",
            "checkpoint": self.checkpoint.name,
            "strength": self.strength,
            "steps": self.steps,
        }


def _with_alpha(on_white: torch.Tensor, views: Views) -> Views:
    return Views(straight_rgb(on_white, views.alpha, WHITE).clamp(0, 1), views.alpha)
