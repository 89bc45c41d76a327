"""What a network is built from: `ModelConfig`, and the presets as one table.

Lengths that end in ``_px`` are pixels of a canonical view; other lengths are world units.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from any3davatar.core.errors import InvalidInput
from any3davatar.core.rigs import RADIUS, VERTICAL_FOV_DEG

Noise = Literal["pixel+plucker", "pixel", "latent"]  # where noise enters: Any3DAvatar, D.4

VIEWS = 4  # front, left, right, back: Any3DAvatar, section 3.1


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shape and the meaning of a set of weights.

    The first two groups are the paper's numbers (sections 3.1 and 4.1) and what it leaves open
    about the backbone; the third is how raw outputs become Gaussians, where the paper is silent;
    the switches at the end are what a network for a small machine adds, all off in the paper's.

    Attributes:
        size_px: H = W of the portrait and of each canonical view.
        patch_px: p, the side of a patch; a power of two, so that `D_vae` can double its way up.
        width: D, the length of a token.
        blocks: DiT blocks.
        heads: attention heads.
        mlp_ratio: hidden width of a block's MLP, in widths.
        point_channels: features of a point between the upsampling and the MLP of `D_gs`; 0 leaves
            the MLP out: the upsampling gives a point's 14 numbers itself.
        image_channels: channels of `D_vae` at full size; up to four times as many further down.
        noise: where noise enters (D.4): ``"pixel+plucker"``, the paper's choice; ``"pixel"``, the
            same without rays; ``"latent"``, in the tokens.
        vertical_fov_deg: field of view of the canonical cameras.
        radius: distance of the canonical cameras from the head's centre.
        depth_reach: a Gaussian's depth stays within ``radius`` +- this.
        offset_reach: a Gaussian leaves its pixel's ray by at most this, along each image axis.
        scale_min_px: least standard deviation.
        scale_max_px: greatest standard deviation.
        scale_start_px: standard deviation before training.
        opacity_start: opacity before training, where no hull gives one.
        opacity_logit_reach: the logit of an opacity stays within +- this.
        learned_positions: add a learned vector to each token.
        aligned_image: show `E_GS` the portrait beside the front view's noise and its mirror image
            beside the back's, as three more channels.
        hull_start: start from a mean head (`any3davatar.model.scaffold.Hull`), not from planes.
        hull_ways: ways in which that head follows the portrait, by a ridge regression that the
            training set decides (`any3davatar.train.ways`); 0 starts everybody at the mean.
        hull_waves: random Fourier features that the regression reads beside pixels, so that it can
            bend (`any3davatar.model.start.waves`); 0 is a linear one.
        color_skip: start the front view's colours at the portrait's pixels.
        silhouette: take the portrait's alpha as a fourth channel, and start Gaussians transparent
            where it shows the background (`any3davatar.model.start.carved_opacity`).
        pooled_portrait: condition AdaLN on the mean context token besides the timestep.
        palette_colors: start colours at mixtures of this many colours picked from the portrait
            (`any3davatar.model.palette`); 0 has no palette.

    Raises:
        InvalidInput: a value out of its range, or two that exclude each other.
    """

    size_px: int
    patch_px: int
    width: int
    blocks: int
    heads: int
    mlp_ratio: int = 4
    point_channels: int = 32
    image_channels: int = 128
    noise: Noise = "pixel+plucker"
    vertical_fov_deg: float = VERTICAL_FOV_DEG
    radius: float = RADIUS
    depth_reach: float = 1.0
    offset_reach: float = 0.06
    scale_min_px: float = 0.4
    scale_max_px: float = 3.0
    scale_start_px: float = 0.8
    opacity_start: float = 0.1
    opacity_logit_reach: float = 7.0
    learned_positions: bool = False
    aligned_image: bool = False
    hull_start: bool = False
    color_skip: bool = False
    pooled_portrait: bool = False
    palette_colors: int = 0
    silhouette: bool = False
    hull_ways: int = 0
    hull_waves: int = 0

    def __post_init__(self) -> None:
        self._check_types()
        for name in ("size_px", "patch_px", "width", "blocks", "heads", "mlp_ratio"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        power_of_two = self.patch_px & (self.patch_px - 1) == 0
        _require(power_of_two, "patch_px must be a power of two", self.patch_px)
        _require(
            self.size_px % self.patch_px == 0,
            f"size_px must be divisible by patch_px = {self.patch_px}",
            self.size_px,
        )
        _require(
            self.width % self.heads == 0,
            f"width must be divisible by heads = {self.heads}",
            self.width,
        )
        _require(
            self.image_channels >= 4 and self.image_channels % 4 == 0,
            "image_channels must be a multiple of 4",
            self.image_channels,
        )
        for name in ("point_channels", "palette_colors", "hull_ways", "hull_waves"):
            _require(getattr(self, name) >= 0, f"{name} must be at least 0", getattr(self, name))
        _require(
            self.noise in get_args(Noise), f"noise must be one of {get_args(Noise)}", self.noise
        )
        _require(
            0 < self.vertical_fov_deg < 180,
            "vertical_fov_deg must lie in (0, 180)",
            self.vertical_fov_deg,
        )
        _require(
            0 < self.depth_reach < self.radius,
            f"depth_reach must lie in (0, radius = {self.radius}), or Gaussians reach the camera",
            self.depth_reach,
        )
        _require(self.offset_reach >= 0, "offset_reach must be at least 0", self.offset_reach)
        _require(
            0 < self.scale_min_px < self.scale_start_px < self.scale_max_px,
            "scales must satisfy 0 < scale_min_px < scale_start_px < scale_max_px",
            (self.scale_min_px, self.scale_start_px, self.scale_max_px),
        )
        _require(
            self.opacity_logit_reach > 0,
            "opacity_logit_reach must be positive",
            self.opacity_logit_reach,
        )
        _require(
            self.opacity_min < self.opacity_start < 1 - self.opacity_min,
            f"opacity_start must lie in ({self.opacity_min:.2g}, {1 - self.opacity_min:.4g}), "
            f"which opacity_logit_reach = {self.opacity_logit_reach} allows",
            self.opacity_start,
        )
        _require(
            not (self.aligned_image and self.noise == "latent"),
            "aligned_image adds channels to pictures, and noise = 'latent' has none: drop one",
            self.noise,
        )

        _require(
            self.hull_ways == 0 or (self.hull_start and self.silhouette and self.size_px % 8 == 0),
            "hull_ways needs hull_start and silhouette, and a size_px divisible by 8",
            (self.hull_start, self.silhouette, self.size_px),
        )
        _require(
            self.hull_waves % 2 == 0 and (self.hull_waves == 0 or self.hull_ways > 0),
            "hull_waves must be even, and needs hull_ways",
            self.hull_waves,
        )

    def _check_types(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float:
                fits = isinstance(value, int | float) and not isinstance(value, bool)
                fits = fits and math.isfinite(value)
            elif field.type in (int, bool):
                fits = type(value) is field.type
            else:
                fits = isinstance(value, str)
            if not fits:
                expected = field.type.__name__ if isinstance(field.type, type) else "str"
                raise InvalidInput(
                    f"ModelConfig.{field.name} must be a (finite) {expected}; got {value!r}"
                )

    @property
    def patches(self) -> int:
        """Nh = Nw, patches along a side."""
        return self.size_px // self.patch_px

    @property
    def view_tokens(self) -> int:
        """Tokens of one picture."""
        return self.patches**2

    @property
    def tokens(self) -> int:
        """Length of the DiT's sequence: the portrait and four views."""
        return (1 + VIEWS) * self.view_tokens

    @property
    def portrait_channels(self) -> int:
        """Channels of the portrait: RGB over the background, and alpha with ``silhouette``."""
        return 4 if self.silhouette else 3

    @property
    def hull_features(self) -> int:
        """Numbers that `hull_ways` read of a portrait (`any3davatar.model.start.features`)."""
        return (self.size_px // 4) ** 2 + (3 + 4) * (self.size_px // 8) ** 2

    @property
    def gaussians(self) -> int:
        """N, one Gaussian for each pixel of each canonical view."""
        return VIEWS * self.size_px**2

    @property
    def opacity_min(self) -> float:
        """Least opacity that the bounded logit can reach; the greatest is one minus this."""
        return 1 / (1 + math.exp(self.opacity_logit_reach))


def read_config(values: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration that a file holds, as `dataclasses.asdict` made it.

    Raises:
        InvalidInput: fields that are unknown or missing, or values out of their range.
    """
    names = {field.name for field in fields(ModelConfig)}
    if set(values) != names:
        raise InvalidInput(
            f"other fields than this version's: {sorted(set(values) ^ names)}; use the version "
            "that wrote them"
        )
    return ModelConfig(**values)


def _require(holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise InvalidInput(f"ModelConfig: {rule}; got {got!r}")


def _paper(
    size_px: int, patch_px: int, width: int, blocks: int, heads: int, points: int, image: int
) -> ModelConfig:
    return ModelConfig(
        size_px, patch_px, width, blocks, heads, point_channels=points, image_channels=image
    )


def _small_machine(
    size_px: int, patch_px: int, width: int, blocks: int, heads: int, points: int, image: int
) -> ModelConfig:
    return ModelConfig(
        size_px,
        patch_px,
        width,
        blocks,
        heads,
        point_channels=points,
        image_channels=image,
        vertical_fov_deg=24.0,  # the head fills the picture: at 64 px no pixel is to spare
        depth_reach=0.75,
        opacity_logit_reach=9.0,  # seen edge-on, 64 Gaussians stand in a row: each must be fainter
        learned_positions=True,
        aligned_image=True,
        hull_start=True,
        color_skip=True,
        pooled_portrait=True,
        palette_colors=8,
        silhouette=True,
        hull_ways=128,
        hull_waves=1024,
    )


# `full` is the paper's network; its 24 blocks and 16 heads are ours, since the paper gives none.
PRESETS: Mapping[str, ModelConfig] = {
    #                      size  patch  width  blocks  heads  points  image
    "full":         _paper( 512,     8,  1024,     24,    16,     32,   128),
    "base":         _paper( 256,     8,   768,     12,    12,     32,    64),
    "small":        _paper( 128,     8,   384,     12,     6,     16,    32),
    "mini": _small_machine(  64,     8,   192,      6,     3,     32,     8),
}  # fmt: skip
