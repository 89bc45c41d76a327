"""The whole: a spec becomes a head that can be rendered from anywhere.

A head is built in two steps: ``build_head`` does everything that does not depend on the camera,
``render_head`` (see ``render.py``) only projects. Because each part has its own random stream and
hair and hats are built on the neutral face, two specs that differ in expression, accessories,
lighting or look show the same person.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from any3davatar.anyhead.heads import accessories, bake, clothes, hair
from any3davatar.anyhead.heads.anatomy import (
    DM_PER_UNIT,
    Anatomy,
    build_anatomy,
    landmarks,
    to_world,
)
from any3davatar.anyhead.heads.detail import FULL, Detail
from any3davatar.anyhead.heads.eyes import eye_meshes
from any3davatar.anyhead.heads.facial_hair import beard, brows, lashes
from any3davatar.anyhead.heads.lighting import Lobes, lobes
from any3davatar.anyhead.heads.looks import LOOKS, outline_of
from any3davatar.anyhead.heads.meshes import Array, Mesh, Strands
from any3davatar.anyhead.heads.mouth import mouth_meshes
from any3davatar.anyhead.heads.render import (
    fibre_radiance,
    surface_radiance,
    tone_mapped,
    usual_viewers,
)
from any3davatar.anyhead.heads.skin import skin_mesh
from any3davatar.anyhead.heads.spec import HeadSpec, Lighting
from any3davatar.anyhead.heads.template import Template


class Geometry(NamedTuple):
    """All parts of a head, unlit, in the world frame.

    Attributes:
        meshes: surfaces by part; the skin is first and keeps all body vertices of the template.
        strands: fibres by part.
        landmarks: points (3,) on the posed face by name, see ``anatomy.landmarks``.
        detail: how finely the parts are built, and will be lit.
    """

    meshes: tuple[Mesh, ...]
    strands: tuple[Strands, ...]
    landmarks: dict[str, Array]
    detail: Detail = FULL

    def mesh(self, name: str) -> Mesh:
        """Return one surface; raises KeyError naming the parts there are."""
        for mesh in self.meshes:
            if mesh.name == name:
                return mesh
        raise KeyError(f"no mesh {name!r}; this head has {[mesh.name for mesh in self.meshes]}")


@dataclass(frozen=True)
class HeadModel:
    """A lit head in the world frame.

    Attributes:
        spec: what was built.
        geometry: its parts.
        surfaces, fibres: the same, flattened and lit.
        surface_colors, fibre_colors: sRGB in [0, 1] with baked highlights.
        lamps: the light they were lit by.
    """

    spec: HeadSpec
    geometry: Geometry
    surfaces: bake.Surfaces
    fibres: tuple[bake.Fibres, ...]
    surface_colors: Array
    fibre_colors: tuple[Array, ...]
    lamps: Lobes


def build_head(spec: HeadSpec, template: Template, detail: Detail = FULL) -> HeadModel:
    """Build and light a head (a few seconds; the same spec always gives the same bits)."""
    return light_head(spec, build_geometry(spec, template, detail), template)


def relit(model: HeadModel, lighting: Lighting, template: Template) -> HeadModel:
    """Return the same head under another light, without building it again."""
    return light_head(replace(model.spec, lighting=lighting), model.geometry, template)


def build_geometry(spec: HeadSpec, template: Template, detail: Detail = FULL) -> Geometry:
    """Build all parts, unlit, in the world frame."""
    look = LOOKS[spec.look]
    anatomy = build_anatomy(spec, template, look.exaggeration, detail)
    worn = accessories.build_accessories(spec, anatomy)
    meshes = [
        clothes.bare_skin(skin_mesh(spec, anatomy), spec, anatomy),
        *eye_meshes(spec, anatomy),
        *mouth_meshes(anatomy),
        *clothes.build_clothes(spec, anatomy),
        *worn.meshes,
    ]
    strands = [
        *_tucked_hair(spec, anatomy, worn),
        brows(spec, anatomy),
        lashes(spec, anatomy),
        *beard(spec, anatomy),
    ]
    dressed = [look.dress(replace(mesh, positions=to_world(mesh.positions))) for mesh in meshes]
    if look.outline > 0:
        dressed += [outline_of(mesh, look.outline) for mesh in dressed if _has_outline(mesh)]
    return Geometry(
        tuple(dressed),
        tuple(look.comb(_strands_to_world(group)) for group in strands),
        {name: to_world(point) for name, point in landmarks(anatomy).items()},
        detail,
    )


def _has_outline(mesh: Mesh) -> bool:
    return mesh.material.opacity >= 1 and not mesh.name.endswith(("_eye", "teeth", "tongue"))


def _tucked_hair(spec: HeadSpec, anatomy: Anatomy, worn: accessories.Worn) -> list[Strands]:
    grown = hair.build_hair(spec, anatomy)
    for tuck in worn.tucks:
        grown = [replace(group, points=tuck(group.points)) for group in grown]
    return grown


def _strands_to_world(group: Strands) -> Strands:
    return replace(
        group,
        points=to_world(group.points),
        radius=(group.radius / DM_PER_UNIT).astype(np.float32),
    )


def light_head(spec: HeadSpec, geometry: Geometry, template: Template) -> HeadModel:
    """Light built geometry with the spec's lighting and look."""
    look, lamps = LOOKS[spec.look], lobes(spec.lighting)
    surfaces = bake.flatten_surfaces(list(geometry.meshes), len(lamps.widths))
    fibres = [bake.flatten_strands(group, len(lamps.widths)) for group in geometry.strands]
    bake.gather_light(surfaces, fibres, lamps, geometry.detail.light_directions)
    body = len(template.body)  # the skin comes first and keeps all body vertices
    irradiance = surfaces.irradiance.copy()
    if geometry.meshes[0].material.skin:
        irradiance[:body] = bake.scatter_under_skin(irradiance[:body], template)
    irradiance = look.develop(np.maximum(irradiance, surfaces.fill[:, None]))
    surfaces = replace(surfaces, irradiance=irradiance)
    fibres = [replace(group, irradiance=look.develop(group.irradiance)) for group in fibres]
    surface_colors = tone_mapped(surface_radiance(surfaces, lamps, usual_viewers(surfaces.points)))
    fibre_colors = tuple(
        tone_mapped(fibre_radiance(group, lamps, usual_viewers(group.points))) for group in fibres
    )
    return HeadModel(spec, geometry, surfaces, tuple(fibres), surface_colors, fibre_colors, lamps)
