"""The structured Gaussian scaffold: canonical cameras, their rays, and where Gaussians start.

Each Gaussian belongs to one pixel of one canonical view (front, left, right, back). The scaffold
knows that pixel's ray; the decoder says where along it the Gaussian lies and what it looks like.
Order of the N = 4 H W Gaussians: view, then row, then column.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from any3davatar.core.cameras import Cameras
from any3davatar.core.errors import InvalidInput
from any3davatar.core.rigs import canonical_four
from any3davatar.core.rotations import matrix_to_quaternion
from any3davatar.model.config import VIEWS, ModelConfig

WAY_CHANNELS = 5  # opacity, depth, red, green, blue
COLOR_MARGIN = 0.02  # start colours keep this far from 0 and 1, where a logit has no gradient


@dataclass(frozen=True, eq=False)
class Hull:
    """The mean head of the training set in the canonical views, and how it follows a portrait.

    Attributes:
        depth: (4, H, W) camera depth (z, world units) of the surface; any value within the
            config's reach where there is none.
        opacity: (4, H, W) in [0, 1]: mean coverage of each pixel.
        rgb: (4, 3, H, W) in [0, 1]: mean colour of each pixel where it is covered.
        frequencies: (M, F) of waves over a portrait's features
            (`any3davatar.model.start.features`, `any3davatar.model.start.waves`).
        phases: (M,) of them.
        reading: (R, F + M) how much of each way a portrait's features and their waves say.
        reading_bias: (R,) what each way gets beside that.
        ways: (R, 4, 5, H / 2, W / 2) what a way adds to opacity, depth and colour.
    """

    depth: Float[Tensor, "4 H W"]
    opacity: Float[Tensor, "4 H W"]
    rgb: Float[Tensor, "4 3 H W"]
    frequencies: Float[Tensor, "M F"]
    phases: Float[Tensor, "M"]
    reading: Float[Tensor, "R FM"]
    reading_bias: Float[Tensor, "R"]
    ways: Float[Tensor, "R 4 5 h w"]


def placeholder_hull(config: ModelConfig) -> Hull:
    """Return a hull that knows nothing: for a network whose own is about to be loaded over it."""
    view = (config.size_px, config.size_px)
    return Hull(
        depth=torch.full((VIEWS, *view), config.radius),
        opacity=torch.full((VIEWS, *view), 0.5),
        rgb=torch.full((VIEWS, 3, *view), 0.5),
        **no_ways(config),
    )


def no_ways(config: ModelConfig) -> dict[str, Tensor]:
    """Return ways that change nothing: what a `Hull` that is a mean alone has."""
    return {name: torch.zeros(shape) for name, shape in _ways_shapes(config).items()}


def _ways_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    ways, waves, side = config.hull_ways, config.hull_waves, config.size_px // 2
    return {
        "frequencies": (waves, config.hull_features),
        "phases": (waves,),
        "reading": (ways, config.hull_features + waves),
        "reading_bias": (ways,),
        "ways": (ways, VIEWS, WAY_CHANNELS, side, side),
    }


class Scaffold(nn.Module):
    """Geometry of the canonical views, and the biases from which raw outputs depart.

    Buffers, none of them trained: ``rays`` (4, 6, H, W) Plücker rays; ``slopes`` (2, H, W), a
    pixel's x / z and y / z; ``camera_to_world`` (4, 4, 4), and its rotations as ``quats`` (4, 4);
    cameras as in `Cameras`; and the start, which is stored in the weights if it is a hull's:
    ``start_depth`` (4, H, W) is the argument of a tanh, ``start_opacity`` (4, H, W) and
    ``start_color`` (4, 3, H, W) are logits; with ``hull_ways`` also the hull's ``reading``,
    ``reading_bias`` and ``ways``, and with ``hull_waves`` its ``frequencies`` and ``phases``.
    """

    rays: Tensor
    slopes: Tensor
    camera_to_world: Tensor
    quats: Tensor
    world_to_camera: Tensor
    K: Tensor
    start_depth: Tensor
    start_opacity: Tensor
    start_color: Tensor
    frequencies: Tensor
    phases: Tensor
    reading: Tensor
    reading_bias: Tensor
    ways: Tensor

    def __init__(self, config: ModelConfig, hull: Hull | None) -> None:
        super().__init__()
        self.size_px = config.size_px
        self.radius, self.depth_reach = config.radius, config.depth_reach
        self.opacity_logit_reach = config.opacity_logit_reach
        with torch.device("cpu"):  # real numbers even while the weights are built on "meta"
            cameras = canonical_four(
                config.size_px, radius=config.radius, vertical_fov_deg=config.vertical_fov_deg
            )
            fixed = {
                "rays": cameras.plucker(),
                "slopes": _slopes(cameras),
                "camera_to_world": cameras.camera_to_world,
                "quats": matrix_to_quaternion(cameras.camera_to_world[:, :3, :3]),
                "world_to_camera": cameras.world_to_camera,
                "K": cameras.K,
            }
            start = _hull_start(config, hull) if config.hull_start else _plane_start(config, hull)
        for name, tensor in fixed.items():
            self.register_buffer(name, tensor, persistent=False)
        for name, tensor in start.items():
            self.register_buffer(name, tensor, persistent=config.hull_start)

    @property
    def cameras(self) -> Cameras:
        """The canonical cameras front, left, right, back."""
        return Cameras(self.world_to_camera, self.K, self.size_px, self.size_px)

    @property
    def mean_opacity(self) -> Float[Tensor, "4 H W"]:
        """Opacities at the start, in [0, 1]."""
        reach = self.opacity_logit_reach
        return torch.sigmoid(reach * torch.tanh(self.start_opacity / reach))

    def depth_of(self, argument: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the camera depth (z, world units) that an argument of the tanh stands for."""
        return self.radius + self.depth_reach * torch.tanh(argument)

    def on_rays(self, depth: Float[Tensor, "*b 4 H W"]) -> Float[Tensor, "*b 4 H W 3"]:
        """Return the points at these depths behind their pixels, in the axes of their view."""
        z = depth[..., None]
        return torch.cat([self.slopes.movedim(0, -1) * z, z], dim=-1)

    def with_rays(self, images: Float[Tensor, "B 4 3 H W"]) -> Float[Tensor, "B 4 9 H W"]:
        """Return ``[images; R]``: each picture, and its view's Plücker rays (section 3.1)."""
        return torch.cat([images, self.rays.expand(len(images), -1, -1, -1, -1)], dim=2)

    def to_world(self, in_camera: Float[Tensor, "B 4 H W 3"]) -> Float[Tensor, "B 4 H W 3"]:
        """Return world positions of points given in the axes of their view's camera."""
        turned = torch.einsum("vij,bvhwj->bvhwi", self.camera_to_world[:, :3, :3], in_camera)
        return turned + self.camera_to_world[:, None, None, :3, 3]


def _slopes(cameras: Cameras) -> Float[Tensor, "2 H W"]:
    """Return x / z and y / z of pixel centres; the four cameras share one K."""
    size, K = cameras.width, cameras.K[0]
    centers_px = torch.arange(size, dtype=K.dtype) + 0.5
    x = (centers_px - K[0, 2]) / K[0, 0]
    y = (centers_px - K[1, 2]) / K[1, 1]
    return torch.stack([x.expand(size, size), y[:, None].expand(size, size)])


def _plane_start(config: ModelConfig, hull: Hull | None) -> dict[str, Tensor]:
    """Start on four planes through the head's centre, faint and grey."""
    if hull is not None:
        raise InvalidInput("a hull was given but hull_start is off: switch it on or drop the hull")
    view = (VIEWS, config.size_px, config.size_px)
    return {
        "start_depth": torch.zeros(view),
        "start_opacity": opacity_argument(torch.full(view, config.opacity_start), config),
        "start_color": torch.zeros(VIEWS, 3, *view[1:]),
    }


def _hull_start(config: ModelConfig, hull: Hull | None) -> dict[str, Tensor]:
    """Start on the mean head."""
    if hull is None:
        raise InvalidInput(
            "hull_start needs the mean head of the training set: pass hull=Hull(depth, opacity, "
            "rgb), or load weights, which carry it"
        )
    view = (VIEWS, config.size_px, config.size_px)
    expected = {"depth": view, "opacity": view, "rgb": (VIEWS, 3, *view[1:])}
    expected |= _ways_shapes(config)
    for name, shape in expected.items():
        if tuple(getattr(hull, name).shape) != shape:
            got = tuple(getattr(hull, name).shape)
            raise InvalidInput(f"Hull.{name} must have shape {shape}; got {got}")
    reach = (hull.depth - config.radius) / config.depth_reach
    # written so that NaN fails too
    if not bool((reach.abs() < 1).all()):
        near, far = config.radius - config.depth_reach, config.radius + config.depth_reach
        raise InvalidInput(
            f"Hull.depth must lie in ({near:.4g}, {far:.4g}) everywhere, camera depth in world "
            f"units; got [{float(hull.depth.min()):.4g}, {float(hull.depth.max()):.4g}]"
        )
    for name in ("opacity", "rgb"):
        value = getattr(hull, name)
        if not bool(((value >= 0) & (value <= 1)).all()):
            low, high = float(value.min()), float(value.max())
            raise InvalidInput(f"Hull.{name} must lie in [0, 1]; got [{low:.4g}, {high:.4g}]")
    start = {
        "start_depth": depth_argument(hull.depth, config),
        "start_opacity": opacity_argument(hull.opacity, config),
        "start_color": torch.logit(hull.rgb, eps=COLOR_MARGIN),
    }
    if config.hull_ways:
        start |= {name: getattr(hull, name) for name in ("reading", "reading_bias", "ways")}
    if config.hull_waves:
        start |= {name: getattr(hull, name) for name in ("frequencies", "phases")}
    return start


def hull_of(scaffold: Scaffold, config: ModelConfig) -> Hull:
    """Return the mean head that a scaffold starts at, within `COLOR_MARGIN` of what it was."""
    ways = {name: getattr(scaffold, name, none) for name, none in no_ways(config).items()}
    return Hull(
        depth=scaffold.depth_of(scaffold.start_depth),
        opacity=scaffold.mean_opacity,
        rgb=torch.sigmoid(scaffold.start_color),
        **ways,
    )


def depth_argument(depth: Float[Tensor, "*b"], config: ModelConfig) -> Float[Tensor, "*b"]:
    """Invert `Scaffold.depth_of`, as far as its tanh has a slope."""
    return torch.atanh(((depth - config.radius) / config.depth_reach).clamp(-0.99, 0.99))


def opacity_argument(opacity: Float[Tensor, "*b"], config: ModelConfig) -> Float[Tensor, "*b"]:
    """Invert the decoder's bounded logit ``reach * tanh(x / reach)``, as far as it has a slope."""
    reach = config.opacity_logit_reach
    logit = torch.logit(opacity, eps=1 / (1 + math.exp(0.9 * reach)))
    return reach * torch.atanh(logit / reach)
