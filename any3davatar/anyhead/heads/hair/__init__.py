"""Scalp hair: ``build_hair`` turns the spec's style into strands on the neutral head."""

from dataclasses import replace
from typing import TypeVar

from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.hair.gather import gather
from any3davatar.anyhead.heads.hair.grow import grow
from any3davatar.anyhead.heads.hair.styles import STYLES, Gathered, Style
from any3davatar.anyhead.heads.meshes import Strands
from any3davatar.anyhead.heads.spec import HeadSpec


def build_hair(spec: HeadSpec, anatomy: Anatomy) -> list[Strands]:
    """Grow the spec's hair in the head frame; an empty list when bald."""
    if spec.hair.style == "bald":
        return []
    style, share = STYLES[spec.hair.style], anatomy.detail.hairs
    if isinstance(style, Style):
        return [grow(spec, _with_share(style, share), anatomy)]
    return [gather(spec, _with_share(style, share), anatomy)]


_S = TypeVar("_S", Style, Gathered)


def _with_share(style: _S, share: float) -> _S:
    """Return a style with a share of its hairs, each as much wider."""
    return replace(style, strands=round(style.strands * share), radius=style.radius / share)
