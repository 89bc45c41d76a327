"""Persons by seed, drawn by the digital human: the only module of the suite that calls it.

The template is loaded once a process; a built head is not kept.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from any3davatar.anyhead.heads.spec import Accessory, Expression, HeadSpec, from_json, to_json
from any3davatar.core import Cameras, Views

if TYPE_CHECKING:
    from any3davatar.anyhead.heads.template import Template

NATURAL = "natural"  # the look of a photograph; every other one is stylised


def person(seed: int) -> HeadSpec:
    """Return the person of a seed: neutral face, nothing worn, as a photograph shows them."""
    from any3davatar.anyhead.heads.sampling import sample_head

    return sample_head(seed)


def with_expression(spec: HeadSpec, name: str) -> HeadSpec:
    """Return the same person with a named expression at full strength."""
    return replace(spec, expression=Expression(name))


def with_accessories(spec: HeadSpec, *accessories: Accessory) -> HeadSpec:
    """Return the same person wearing these, and nothing else."""
    return replace(spec, accessories=accessories)


def plain(spec: HeadSpec) -> dict[str, Any]:
    """Return a spec as JSON."""
    return json.loads(to_json(spec))


def spec_of(attributes: Mapping[str, Any]) -> HeadSpec:
    """Return the spec under ``"spec"``; raises `SpecError` where it is damaged."""
    return from_json(json.dumps(attributes["spec"]))


@lru_cache(maxsize=1)
def _template() -> "Template":
    from any3davatar.anyhead.heads.template import load_template

    return load_template()


def prepare() -> None:
    """Fetch and cache what the digital human needs; raises `AssetsUnavailable` where it can't."""
    _template()


def drawer(
    spec: HeadSpec, supersampling: int, *, draft: bool = False
) -> Callable[[Cameras], Views]:
    """Build a head (seconds); return what renders it from V cameras (tenths of a second each).

    The views are (V, ...): straight colour, alpha, and the mean camera depth of the covered part.
    Each depends on its own camera alone, so they can be drawn together or one by one. A draft is
    built in half the time (`any3davatar.anyhead.heads.detail`): for pictures of 160 pixels or less.
    """
    from any3davatar.anyhead.heads.detail import DRAFT, FULL
    from any3davatar.anyhead.heads.head import build_head
    from any3davatar.anyhead.heads.render import render_head

    model = build_head(spec, _template(), DRAFT if draft else FULL)

    def drawn_from(cameras: Cameras) -> Views:
        drawn = render_head(model, cameras, supersampling=supersampling)
        rgb, alpha, depth = (torch.from_numpy(a) for a in (drawn.rgb, drawn.alpha, drawn.depth))
        return Views(rgb, alpha, depth)

    return drawn_from


def draw(spec: HeadSpec, cameras: Cameras, supersampling: int, *, draft: bool = False) -> Views:
    """Build a head and render all views at once; see `drawer`."""
    return drawer(spec, supersampling, draft=draft)(cameras)
