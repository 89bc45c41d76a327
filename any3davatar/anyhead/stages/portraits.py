"""Stage ii: from a prompt to a frontal portrait."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from any3davatar.anyhead import people
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.matte import views_from_white
from any3davatar.anyhead.programs import BackEndFailed, Program, described
from any3davatar.anyhead.prompts import PortraitPrompt
from any3davatar.anyhead.stages.pipelines import load_pipeline, to_tensor
from any3davatar.core import Views
from any3davatar.core.rigs import canonical_four
from any3davatar.io import FormatError, read_png


@dataclass(frozen=True, eq=False)
class HeadIdea:
    """What the stages know of a head before there are pictures.

    Attributes:
        seed: of everything random about it.
        prompt: its prompt.
        spec: what the prompt's words make of the digital human; read by embedded back ends only.
        size_px: width and height of the pictures to make.
        supersampling: samples a pixel and axis, for embedded back ends.
    """

    seed: int
    prompt: PortraitPrompt
    spec: HeadSpec
    size_px: int
    supersampling: int


@runtime_checkable
class TextToImage(Protocol):
    """Makes a portrait. Frozen, and fit for sending to another process."""

    def portrait(self, idea: HeadIdea) -> Views:
        """Return the frontal portrait: straight colour and alpha, no leading dimension.

        Raises:
            BackEndFailed: there is no usable portrait for this head.
            DataError: there will be none for any head.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what the recipe records about the back end, as JSON."""
        ...


@dataclass(frozen=True)
class EmbeddedPortraits:
    """Draws the digital human that the prompt's words describe; no generative network."""

    def portrait(self, idea: HeadIdea) -> Views:
        """See `TextToImage`; the camera is the frontal canonical one."""
        return people.draw(idea.spec, canonical_four(idea.size_px)[:1], idea.supersampling)[0]

    def describe(self) -> Mapping[str, Any]:
        """See `TextToImage`."""
        return {"kind": "embedded", "draws": "procedural digital human"}


@dataclass(frozen=True)
class CommandPortraits:
    """Runs a program that writes a square PNG ``{output}`` for ``{prompt}`` and ``{seed}``.

    A picture without alpha is taken to show the head on white, as the prompt asks.
    """

    program: Program

    def portrait(self, idea: HeadIdea) -> Views:
        """See `TextToImage`."""
        with tempfile.TemporaryDirectory(prefix="portrait-") as folder:
            output = Path(folder) / "portrait.png"
            self.program.run(
                {"output": str(output), "prompt": idea.prompt.text, "seed": str(idea.seed)}
            )
            try:
                rgb, alpha = read_png(output)
            except (FormatError, OSError) as error:
                raise BackEndFailed(f"the portrait is no picture: {error}") from error
        if rgb.shape[1] != rgb.shape[2]:
            raise BackEndFailed(f"the portrait must be square; got {tuple(rgb.shape[1:])} pixels")
        views = views_from_white(rgb[None])[0] if alpha is None else Views(rgb, alpha)
        return resized(views, idea.size_px)

    def describe(self) -> Mapping[str, Any]:
        """See `TextToImage`."""
        return {"kind": "command", "arguments": described(self.program.arguments)}


@dataclass(frozen=True)
class DiffusersPortraits:
    """Any local text-to-image checkpoint of the `diffusers` package.

    Attributes:
        checkpoint: folder that ``DiffusionPipeline.save_pretrained`` wrote.
        steps: denoising steps.
        native_size_px: width and height that the model makes; resized afterwards.
    """

    checkpoint: Path
    steps: int = 30
    native_size_px: int = 1024

    def portrait(self, idea: HeadIdea) -> Views:
        """See `TextToImage`."""
        pipeline = load_pipeline("AutoPipelineForText2Image", self.checkpoint)
        made = pipeline(
            prompt=idea.prompt.text,
            num_inference_steps=self.steps,
            height=self.native_size_px,
            width=self.native_size_px,
            generator=torch.Generator().manual_seed(idea.seed),
        )
        views = views_from_white(to_tensor(made.images[0])[None])[0]
        return resized(views, idea.size_px)

    def describe(self) -> Mapping[str, Any]:
        """See `TextToImage`."""
        return {
            "kind": "diffusers",
            "checkpoint": self.checkpoint.name,
            "steps": self.steps,
            "native_size_px": self.native_size_px,
        }


def resized(view: Views, size_px: int) -> Views:
    """Return a view of another size; colour is weighted by alpha, so the edges stay clean."""
    if view.rgb.shape[-1] == size_px:
        return view
    premultiplied = torch.cat([view.rgb * view.alpha, view.alpha])[None]
    scaled = torch.nn.functional.interpolate(
        premultiplied, size=(size_px, size_px), mode="bilinear", antialias=True
    )[0].clamp(0, 1)
    alpha = scaled[3:]
    rgb = torch.where(alpha > 0, scaled[:3] / alpha.clamp_min(1e-6), 0.0).clamp(0, 1)
    return Views(rgb, alpha)
