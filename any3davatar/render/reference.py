"""The definition of a render: 3D Gaussian splatting in vectorised plain torch.

Every other backend is measured against this one. It works in any floating-point type on any
device, its gradients are autograd's, and it favours being read over being fast. The image model
is EWA splatting (Zwicker et al., 2001) as in 3D Gaussian Splatting (Kerbl et al., 2023), with the
details of gsplat 1.5.3 (``rasterize_mode="classic"``).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from any3davatar.core.rotations import quaternion_to_matrix
from any3davatar.core.sh import sh_to_rgb
from any3davatar.render.arguments import check_arguments
from any3davatar.render.settings import (
    ALPHA_MAX,
    ALPHA_MIN,
    DEPTH_ALPHA_MIN,
    EXTENT_MAX_SIGMA,
    JACOBIAN_MARGIN,
    TRANSMITTANCE_MIN,
    Rasterized,
    RasterSettings,
)

TILE_PX = 16  # does not change the image: a footprint's rectangle holds all of its alpha >= 1/255


@dataclass(frozen=True)
class Splats:
    """Gaussians that may touch the picture, projected, front to back.

    Attributes:
        index: (M,) which Gaussian of the N this is.
        xy_px: (M, 2) projected centres.
        conic: (M, 3) inverse 2D covariance: xx, xy, yy, per square pixel.
        radius_px: (M, 2) half extents of the footprint's rectangle, whole pixels.
        depth: (M,) camera depth of the centre, non-decreasing.
    """

    index: Int[Tensor, "M"]
    xy_px: Float[Tensor, "M 2"]
    conic: Float[Tensor, "M 3"]
    radius_px: Float[Tensor, "M 2"]
    depth: Float[Tensor, "M"]


def spread(quats: Float[Tensor, "N 4"], scales: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    """Return ``R S``, so that the covariance is ``R S (R S)^T`` (3DGS, Eq. 6).

    Quaternions are normalised here. The product itself is never formed: a thin Gaussian's
    covariance would lose its thin direction to rounding.
    """
    rotation = quaternion_to_matrix(torch.nn.functional.normalize(quats, dim=-1))
    return rotation * scales[:, None, :]


@dataclass(frozen=True)
class Footprints:
    """Gaussians as ellipses in the picture.

    Attributes:
        xy_px: (M, 2) projected centres.
        covariance: (M, 3) xx, xy, yy in square pixels, dilated.
        determinant: (M,) of the covariance.
        depth: (M,) camera depth of the centre.
    """

    xy_px: Float[Tensor, "M 2"]
    covariance: Float[Tensor, "M 3"]
    determinant: Float[Tensor, "M"]
    depth: Float[Tensor, "M"]


def footprints(
    means: Float[Tensor, "M 3"],
    spreads: Float[Tensor, "M 3 3"],
    world_to_camera: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    settings: RasterSettings,
) -> Footprints:
    """Project by the local affine approximation (EWA, Eq. 29 ff.): ``J W`` takes R S along."""
    rotation, translation = world_to_camera[:3, :3], world_to_camera[:3, 3]
    x, y, z = (means @ rotation.T + translation).unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = JACOBIAN_MARGIN * width / 2 / fx, JACOBIAN_MARGIN * height / 2 / fy
    x_slope = (x / z).clamp(-(cx / fx + margin_x), (width - cx) / fx + margin_x)
    y_slope = (y / z).clamp(-(cy / fy + margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [fx / z, zero, -fx * x_slope / z, zero, fy / z, -fy * y_slope / z], dim=-1
    ).unflatten(-1, (2, 3))
    along_x, along_y = (jacobian @ rotation @ spreads).unbind(1)  # (M, 3) each
    xx, yy = along_x.square().sum(-1), along_y.square().sum(-1)
    # det(M M^T) is the sum of the squared minors of M (Cauchy-Binet): nothing cancels.
    minors = torch.linalg.cross(along_x, along_y).square().sum(-1)
    d = settings.dilation_px2
    return Footprints(
        xy_px=torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1),
        covariance=torch.stack([xx + d, (along_x * along_y).sum(-1), yy + d], dim=-1),
        determinant=minors + d * (xx + yy + d),
        depth=z,
    )


@torch.no_grad()
def visible(
    means: Float[Tensor, "N 3"],
    spreads: Float[Tensor, "N 3 3"],
    opacities: Float[Tensor, "N"],
    world_to_camera: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    settings: RasterSettings,
) -> tuple[Int[Tensor, "M"], Float[Tensor, "M 2"]]:
    """Return which Gaussians may touch the picture, front to back, and their radii in pixels."""
    depth = means @ world_to_camera[2, :3] + world_to_camera[2, 3]
    in_range = (depth >= settings.near) & (depth <= settings.far)
    # A Gaussian whose peak is under one 8-bit step can contribute nowhere.
    index = (in_range & (opacities >= ALPHA_MIN)).nonzero()[:, 0]
    ellipses = footprints(means[index], spreads[index], world_to_camera, K, width, height, settings)
    # Beyond this many sigmas alpha is under ALPHA_MIN (Radl et al., StopThePop, B.2).
    extent = (2 * (opacities[index] / ALPHA_MIN).log()).sqrt().clamp_max(EXTENT_MAX_SIGMA)
    radius_px = (extent[:, None] * ellipses.covariance[:, [0, 2]].sqrt()).ceil()
    seen = (ellipses.determinant > 0) & ellipses.determinant.isfinite()
    seen &= (radius_px > settings.radius_clip_px).any(-1)
    xy_px = ellipses.xy_px
    size = xy_px.new_tensor([width, height])
    seen &= ((xy_px + radius_px > 0) & (xy_px - radius_px < size)).all(-1)
    order = seen.nonzero()[:, 0]
    order = order[ellipses.depth[order].argsort(stable=True)]  # ties keep the order of the input
    return index[order], radius_px[order]


def project(
    means: Float[Tensor, "N 3"],
    spreads: Float[Tensor, "N 3 3"],
    opacities: Float[Tensor, "N"],
    world_to_camera: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    settings: RasterSettings,
) -> Splats:
    """Project the Gaussians that may touch the picture, front to back."""
    camera = (world_to_camera, K, width, height, settings)
    index, radius_px = visible(means, spreads, opacities, *camera)
    ellipses = footprints(means[index], spreads[index], *camera)
    xx, xy, yy = ellipses.covariance.unbind(-1)
    conic = torch.stack([yy, -xy, xx], dim=-1) / ellipses.determinant[:, None]
    return Splats(index, ellipses.xy_px, conic, radius_px, ellipses.depth)


@torch.no_grad()
def tile_lists(splats: Splats, tiles_across: int, tiles_down: int) -> list[Int[Tensor, "M_tile"]]:
    """Return, for each tile in reading order, which splats' rectangles touch it, front to back."""
    limit = splats.xy_px.new_tensor([tiles_across, tiles_down])
    low = ((splats.xy_px - splats.radius_px) / TILE_PX).floor().clamp_min(0).minimum(limit).long()
    high = ((splats.xy_px + splats.radius_px) / TILE_PX).ceil().clamp_min(0).minimum(limit).long()
    across, down = (high - low).unbind(-1)
    per_splat = across * down
    splat = torch.repeat_interleave(per_splat)  # (entries,), front to back
    within = torch.arange(len(splat), device=splat.device)
    within = within - (per_splat.cumsum(0) - per_splat)[splat]
    column = low[splat, 0] + within % across[splat]
    row = low[splat, 1] + within // across[splat]
    tile = row * tiles_across + column
    order = tile.argsort(stable=True)
    counts = torch.bincount(tile, minlength=tiles_across * tiles_down)
    return list(splat[order].split(counts.tolist()))


def blend_tile(
    xy_px: Float[Tensor, "M 2"],
    conic: Float[Tensor, "M 3"],
    opacities: Float[Tensor, "M"],
    channels: Float[Tensor, "M D"],
    pixels: Float[Tensor, "P 2"],
) -> tuple[Float[Tensor, "P D"], Float[Tensor, "P"]]:
    """Composite splats front to back (3DGS, Eq. 3); return the sum and the transmittance left."""
    dx, dy = (xy_px[:, None, :] - pixels[None, :, :]).unbind(-1)  # (M, P)
    xx, xy, yy = conic[:, :, None].unbind(1)  # (M, 1)
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (opacities[:, None] * (-sigma).exp()).clamp_max(ALPHA_MAX)
    alpha = torch.where((sigma < 0) | (alpha < ALPHA_MIN), 0.0, alpha)
    after = (1 - alpha).cumprod(dim=0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    # Transmittance never grows, so this stops each pixel at its first splat that would end it.
    kept = torch.where(after > TRANSMITTANCE_MIN, alpha, 0.0)
    return (kept * before).T @ channels, (1 - kept).prod(dim=0)


def rasterize_view(
    splats: Splats,
    opacities: Float[Tensor, "N"],
    channels: Float[Tensor, "N D"],
    background: Float[Tensor, "D"],
    width: int,
    height: int,
) -> tuple[Float[Tensor, "D H W"], Float[Tensor, "1 H W"]]:
    """Composite one view tile by tile; return channels over the background, and alpha."""
    tiles_across, tiles_down = -(-width // TILE_PX), -(-height // TILE_PX)
    like = {"dtype": channels.dtype, "device": channels.device}
    offset = torch.arange(TILE_PX, **like) + 0.5
    pixels = torch.stack(torch.meshgrid(offset, offset, indexing="xy"), dim=-1).reshape(-1, 2)
    sums, transmittances = [], []
    for tile, members in enumerate(tile_lists(splats, tiles_across, tiles_down)):
        if len(members) == 0:
            sums.append(torch.zeros(TILE_PX * TILE_PX, channels.shape[-1], **like))
            transmittances.append(torch.ones(TILE_PX * TILE_PX, **like))
            continue
        corner = pixels.new_tensor([tile % tiles_across, tile // tiles_across]) * TILE_PX
        gaussian = splats.index[members]
        # Recomputing a tile in the backward pass keeps memory at one tile's splats x pixels.
        blended, left = checkpoint(
            blend_tile,
            splats.xy_px[members], splats.conic[members], opacities[gaussian], channels[gaussian],
            pixels + corner,
            use_reentrant=False,
        )  # fmt: skip
        sums.append(blended)
        transmittances.append(left)

    def untile(values: Tensor) -> Tensor:  # (tiles, pixels, D) -> (D, H, W)
        grid = values.reshape(tiles_down, tiles_across, TILE_PX, TILE_PX, -1)
        picture = grid.permute(4, 0, 2, 1, 3).flatten(3, 4).flatten(1, 2)
        return picture[:, :height, :width]

    transmittance = untile(torch.stack(transmittances))
    return untile(torch.stack(sums)) + background[:, None, None] * transmittance, 1 - transmittance


def rasterize(
    means: Float[Tensor, "B N 3"],
    quats: Float[Tensor, "B N 4"],
    scales: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    colors: Float[Tensor, "B N D"] | None,
    sh: Float[Tensor, "B N K 3"] | None,
    world_to_camera: Float[Tensor, "B V 4 4"],
    K: Float[Tensor, "B V 3 3"],
    background: Float[Tensor, "B V D"],
    *,
    width: int,
    height: int,
    settings: RasterSettings,
    with_depth: bool,
) -> Rasterized:
    """Rasterize B sets of Gaussians, each seen by its own V cameras.

    Args:
        means: centres, world units.
        quats: rotations (w, x, y, z), any non-zero length.
        scales: standard deviations along the local axes, world units.
        opacities: in [0, 1].
        colors: D channels, the same from every side; exactly one of `colors` and `sh` is given.
        sh: colour coefficients, evaluated for each view; then D is 3.
        world_to_camera: OpenCV extrinsics. No gradient flows to cameras.
        K: intrinsics in pixels.
        background: colour behind everything, a value for each channel.
        width: picture width in pixels.
        height: picture height in pixels.
        settings: near and far planes, low-pass filter, radius clip.
        with_depth: whether expected depth is wanted.

    Raises:
        InvalidInput: shapes, dtypes or devices disagree, or a value is not finite.
    """
    check_arguments(
        means, quats, scales, opacities, colors, sh, world_to_camera, K, background, width, height
    )
    pictures, alphas, depths = [], [], []
    for b in range(means.shape[0]):
        spreads = spread(quats[b], scales[b])
        for v in range(world_to_camera.shape[1]):
            extrinsics = world_to_camera[b, v]
            splats = project(
                means[b], spreads, opacities[b], extrinsics, K[b, v], width, height, settings
            )
            if colors is not None:
                channels = colors[b]
            else:
                assert sh is not None
                center = -(extrinsics[:3, :3].T @ extrinsics[:3, 3])
                directions = torch.nn.functional.normalize(means[b] - center, dim=-1)
                channels = sh_to_rgb(sh[b], directions)
            behind = background[b, v]
            if with_depth:
                camera_depth = means[b] @ extrinsics[2, :3] + extrinsics[2, 3]
                channels = torch.cat([channels, camera_depth[:, None]], dim=-1)
                behind = torch.cat([behind, behind.new_zeros(1)])
            picture, alpha = rasterize_view(splats, opacities[b], channels, behind, width, height)
            if with_depth:
                depths.append(picture[-1:] / alpha.clamp_min(DEPTH_ALPHA_MIN))
                picture = picture[:-1]
            pictures.append(picture)
            alphas.append(alpha)
    batch = tuple(world_to_camera.shape[:2])
    return Rasterized(
        channels=_stack(pictures, (*batch, background.shape[-1], height, width), means),
        alpha=_stack(alphas, (*batch, 1, height, width), means),
        depth=_stack(depths, (*batch, 1, height, width), means) if with_depth else None,
    )


def _stack(parts: list[Tensor], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Stack pictures into `shape`; no pictures at all make an empty tensor."""
    return torch.stack(parts).reshape(shape) if parts else like.new_zeros(shape)
