"""The `diffusers` package, which is an optional extra: loading a local checkpoint."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead.errors import DataError


@lru_cache(maxsize=2)  # one that makes portraits, one that enhances views
def load_pipeline(kind: str, checkpoint: Path) -> Any:
    """Load a pipeline once a process, from disk only.

    Args:
        kind: name of a class of `diffusers`, ``AutoPipelineForText2Image`` for instance.
        checkpoint: folder that ``save_pretrained`` wrote.

    Raises:
        DataError: the extra is not installed, or the folder holds no such checkpoint.
    """
    if not (checkpoint / "model_index.json").is_file():
        raise DataError(
            f"{checkpoint}: got no diffusers checkpoint (model_index.json is missing), expected a "
            "folder that save_pretrained wrote; download one and give its folder"
        )
    try:
        import diffusers  # pyright: ignore[reportMissingImports] optional extra
    except ImportError as error:
        raise DataError(
            "the diffusers back end needs an extra that is not installed: "
            "python -m pip install 'any3davatar[diffusers]'"
        ) from error
    try:
        pipeline = getattr(diffusers, kind).from_pretrained(checkpoint, local_files_only=True)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{checkpoint}: the checkpoint can't be loaded: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def to_tensor(picture: Any) -> Float[Tensor, "3 H W"]:
    """Return a Pillow image as a tensor in [0, 1]."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
    return torch.from_numpy(np.moveaxis(pixels, -1, 0).copy())


def to_image(rgb: Float[Tensor, "3 H W"]) -> Any:
    """Return a tensor in [0, 1] as a Pillow image."""
    from PIL import Image

    levels = (rgb.clamp(0, 1) * 255).round().byte().movedim(0, -1)
    return Image.fromarray(levels.contiguous().numpy())
