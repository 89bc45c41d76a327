"""The procedural digital human: full heads from open assets, rendered on a CPU.

A ``HeadSpec`` says everything about a head; ``build_head`` turns it into surfaces and strands lit
once; ``render_head`` draws views of it. ``sample_head`` draws random specs.

    template = load_template()
    model = build_head(sample_head(7), template)
    views = render_head(model, turntable(16, size_px=512))
    views.rgb, views.alpha, views.depth  # straight sRGB in [0, 1], coverage, camera depth
"""

from any3davatar.anyhead.heads.assets import AssetsUnavailable
from any3davatar.anyhead.heads.head import HeadModel, build_geometry, build_head, relit
from any3davatar.anyhead.heads.render import HeadViews, render_head
from any3davatar.anyhead.heads.sampling import sample_head
from any3davatar.anyhead.heads.spec import HeadSpec, SpecError, from_json, read_spec, to_json
from any3davatar.anyhead.heads.template import Template, load_template

__all__ = [
    "AssetsUnavailable",
    "HeadModel",
    "HeadSpec",
    "HeadViews",
    "SpecError",
    "Template",
    "build_geometry",
    "build_head",
    "from_json",
    "load_template",
    "read_spec",
    "relit",
    "render_head",
    "sample_head",
    "to_json",
]
