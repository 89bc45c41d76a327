"""Meshes of other people's methods, looked at from the protocol's cameras.

Files are read by trimesh (GLB, OBJ, PLY, STL is left out: it has no colour); textures and colours
are turned into one colour a vertex or looked up in the texture. Nothing is lit: what methods leave
has its light painted in.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from a3d_bench.errors import BenchError
from any3davatar.core import Cameras, Similarity, Views

MESH_SUFFIXES = (".glb", ".obj", ".ply")
_FILE_LIMIT_BYTES = 1 << 30
_FACES_MAX = 5_000_000
_TEXTURE_MAX = 8192  # pixels along a side
_SUPERSAMPLING = 2  # samples along each side of a pixel: edges of thin hair


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with colours.

    Attributes:
        vertices: (P, 3) world.
        faces: (F, 3) indices.
        colors: (P, 3) sRGB in [0, 1], where there is no texture.
        uv: (P, 2) places in the texture, (0, 0) its lower left corner, or None.
        texture: (H, W, 3) sRGB in [0, 1], or None.
    """

    vertices: Float[Tensor, "P 3"]
    faces: Int[Tensor, "F 3"]
    colors: Float[Tensor, "P 3"]
    uv: Float[Tensor, "P 2"] | None = None
    texture: Float[Tensor, "H W 3"] | None = None


@dataclass(frozen=True, eq=False)
class MeshAvatar:
    """Meshes in the canonical world.

    Attributes:
        parts: meshes, each with its own texture.
    """

    parts: tuple[Mesh, ...]

    def render(self, cameras: Cameras, background: Float[Tensor, "3"]) -> Views:
        """Return (V,) views over the background; faces are seen from both sides."""
        views = [self._view(cameras[index], background) for index in range(len(cameras))]
        return Views(
            torch.stack([view.rgb for view in views]), torch.stack([view.alpha for view in views])
        )

    def _view(self, camera: Cameras, background: Float[Tensor, "3"]) -> Views:
        fine = camera.resized(_SUPERSAMPLING * camera.width, _SUPERSAMPLING * camera.height)
        depth = np.full((fine.height, fine.width), np.inf, dtype=np.float32)
        color = np.zeros((fine.height, fine.width, 3), dtype=np.float32)
        for part in self.parts:
            pixels, z = fine.project(part.vertices)
            texture = part.texture if part.texture is not None else torch.zeros(1, 1, 3)
            uv = part.uv if part.uv is not None else torch.zeros(len(part.vertices), 2)
            _rasterize_triangles()(
                pixels.numpy().astype(np.float32),
                z.numpy().astype(np.float32),
                part.faces.numpy(),
                part.colors.numpy(),
                uv.numpy(),
                texture.numpy(),
                part.texture is not None and part.uv is not None,
                depth,
                color,
            )
        covered = torch.from_numpy(np.isfinite(depth)).float()[None]
        premultiplied = torch.from_numpy(color).permute(2, 0, 1) * covered
        pooled = torch.nn.functional.avg_pool2d(
            torch.cat([premultiplied, covered])[None], _SUPERSAMPLING
        )[0]
        alpha = pooled[3:]
        return Views(pooled[:3] + background[:, None, None] * (1 - alpha), alpha)


def read_mesh(path: Path, to_canonical: Similarity) -> MeshAvatar:
    """Read a mesh and move it into the canonical world.

    Raises:
        BenchError: trimesh is not installed, or the file is not a mesh with faces.
    """
    try:
        import trimesh
    except ImportError as error:
        raise BenchError(
            "meshes are read by trimesh, which is not installed: pip install 'any3davatar[mesh]'"
        ) from error
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise BenchError(f"{path}: got {suffix!r}, expected one of {', '.join(MESH_SUFFIXES)}")
    if path.stat().st_size > _FILE_LIMIT_BYTES:
        raise BenchError(f"{path}: larger than {_FILE_LIMIT_BYTES} bytes; reduce the mesh")
    try:
        with path.open("rb") as file:
            scene = trimesh.load_scene(
                file, file_type=suffix[1:], resolver=_inside_resolver(path.resolve().parent)
            )
        meshes = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
        parts = tuple(_part(mesh, to_canonical) for mesh in meshes if len(mesh.faces))
    except BenchError:
        raise
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise BenchError(f"{path}: not a mesh: {type(error).__name__}: {error}") from error
    if not parts:
        raise BenchError(f"{path}: it has no faces; is it a point cloud or a file of Gaussians?")
    if sum(len(part.faces) for part in parts) > _FACES_MAX:
        raise BenchError(f"{path}: more than {_FACES_MAX} faces; reduce the mesh")
    return MeshAvatar(parts)


def _inside_resolver(folder: Path) -> Any:
    """Return a trimesh resolver that opens files of one folder only."""
    from trimesh.resolvers import Resolver

    class Inside(Resolver):
        """Materials and textures beside the mesh; nothing else, and no address."""

        def __init__(self) -> None:
            pass

        def write(self, name: str, data: bytes) -> None:
            """Refuse: a mesh is read here."""
            raise BenchError(f"the mesh wants to write {name[:80]!r}; it is only read")

        def get(self, key: str) -> bytes:
            """Return a file's bytes."""
            target = (folder / PurePosixPath(key.strip().replace("\\", "/"))).resolve()
            if not target.is_relative_to(folder) or not target.is_file():
                raise BenchError(
                    f"the mesh names the file {key[:80]!r}, expected one in its own folder"
                )
            if target.stat().st_size > _FILE_LIMIT_BYTES:
                raise BenchError(f"{target}: larger than {_FILE_LIMIT_BYTES} bytes")
            return target.read_bytes()

        def namespaced(self, namespace: str) -> "Inside":
            """Return itself: no folder lies above."""
            return self

        def keys(self) -> list[str]:
            """Return no names: the mesh says which files it needs."""
            return []

    return Inside()


def _part(mesh: Any, to_canonical: Similarity) -> Mesh:
    vertices = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float32)
    faces = np.asarray(mesh.faces, dtype=np.int64)
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise BenchError("the mesh has faces whose vertices do not exist")
    if not bool(torch.isfinite(vertices).all()):
        raise BenchError("the mesh has vertices that are not finite")
    texture, uv = _texture_of(mesh)
    if texture is not None:
        colors = np.zeros((len(vertices), 3))
    elif mesh.visual.kind == "texture":  # a material without a picture: one colour
        main = np.asarray(mesh.visual.material.main_color, dtype=float)[:3] / 255
        colors = np.broadcast_to(main, (len(vertices), 3))
    else:
        colors = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    return Mesh(
        vertices=to_canonical.apply(vertices),
        faces=torch.from_numpy(faces),
        colors=torch.tensor(colors, dtype=torch.float32),
        uv=uv,
        texture=texture,
    )


def _texture_of(mesh: Any) -> tuple[Tensor | None, Tensor | None]:
    """Return the base colour texture and the places in it, or two Nones."""
    uv = getattr(mesh.visual, "uv", None)
    material = getattr(mesh.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if uv is None or image is None or len(uv) != len(mesh.vertices):
        return None, None
    if max(image.size) > _TEXTURE_MAX:
        raise BenchError(f"the texture has {image.size} pixels, at most {_TEXTURE_MAX} a side")
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels), torch.tensor(np.asarray(uv), dtype=torch.float32)


def _rasterize_triangles() -> Any:
    """Return the compiled rasterizer; compiled when the first mesh is looked at."""
    global _COMPILED
    if _COMPILED is None:
        import numba

        _COMPILED = numba.njit(cache=False)(_draw)
    return _COMPILED


_COMPILED: Any = None
_NEAR = 1e-3  # world units; triangles that reach nearer, or behind the camera, are left out


@no_type_check  # run-time checkers would wrap what numba must compile
def _draw(
    pixels: np.ndarray,
    z: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    textured: bool,
    depth: np.ndarray,
    color: np.ndarray,
) -> None:
    """Draw triangles into a depth buffer and a picture, perspective-correct, in place."""
    height, width = depth.shape
    rows, columns = texture.shape[0], texture.shape[1]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if z[a] < _NEAR or z[b] < _NEAR or z[c] < _NEAR:
            continue
        ax, ay = pixels[a, 0], pixels[a, 1]
        bx, by = pixels[b, 0], pixels[b, 1]
        cx, cy = pixels[c, 0], pixels[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        x0 = int(max(0.0, np.ceil(min(ax, bx, cx) - 0.5)))
        x1 = int(min(width - 1.0, np.floor(max(ax, bx, cx) - 0.5)))
        y0 = int(max(0.0, np.ceil(min(ay, by, cy) - 0.5)))
        y1 = int(min(height - 1.0, np.floor(max(ay, by, cy) - 0.5)))
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                px, py = x + 0.5, y + 0.5
                wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                wc = 1 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                qa, qb, qc = wa / z[a], wb / z[b], wc / z[c]
                here = 1 / (qa + qb + qc)
                if here >= depth[y, x]:
                    continue
                depth[y, x] = here
                if textured:
                    u = (qa * uv[a, 0] + qb * uv[b, 0] + qc * uv[c, 0]) * here
                    v = (qa * uv[a, 1] + qb * uv[b, 1] + qc * uv[c, 1]) * here
                    column = min(int((u - np.floor(u)) * columns), columns - 1)
                    row = min(int((1 - (v - np.floor(v))) * rows), rows - 1)
                    for k in range(3):
                        color[y, x, k] = texture[row, column, k]
                else:
                    for k in range(3):
                        color[y, x, k] = (
                            qa * colors[a, k] + qb * colors[b, k] + qc * colors[c, k]
                        ) * here
