"""The README.md of each subset: what it is, how it was made, how to read it."""

import json
from collections.abc import Mapping
from typing import Any

_LAYOUT = {
    "head": "    {HEAD_ID}/{VIEW_ID}.png\n    {HEAD_ID}/CAMERA_PARAMETERS.json\n",
    "expression": (
        "    {HEAD_ID}/{EXPRESSION_ID}/{VIEW_ID}.png\n"
        "    {HEAD_ID}/{EXPRESSION_ID}/CAMERA_PARAMETERS.json\n"
    ),
    "accessory": (
        "    {HEAD_ID}/{ACCESSORY_ID}/{VIEW_ID}.png\n"
        "    {HEAD_ID}/{ACCESSORY_ID}/CAMERA_PARAMETERS.json\n"
    ),
}

_READING = """\
* Pictures are RGBA PNGs, 8 bits a channel, sRGB, straight alpha (colour not multiplied by alpha;
  0 where alpha is 0). Lay them over the background you want, in the encoded values.
* `CAMERA_PARAMETERS.json`: per view `world_to_camera` (4 x 4, OpenCV axes: x right, y down,
  z forward) and `K` (pixels; the centre of the first pixel is at 0.5, 0.5). The world is
  right-handed, +y up, the face looks along +z, the subject's left is +x, the head lies inside the
  unit sphere. `input_view` is the frontal view for single-image methods.
* `HEAD.json`: the attributes of each group and the SHA-256 of each file.
* `MANIFEST.json`: the recipe, the SHA-256 of each `HEAD.json`, and what was rejected and why.
* `../SPLITS.json`: train, validation and test by subject. A subject has the same id, and so
  the same split, in every subset.

`any3davatar data verify` checks all of this; `any3davatar.anyhead.readers` reads it.
"""


def _readme(title: str, layout: str, made: str, recipe: Mapping[str, Any]) -> str:
    return (
        f"# {title}\n\n{made}\n\n## Folders\n\n{_LAYOUT[layout]}    {{HEAD_ID}}/HEAD.json\n"
        f"    MANIFEST.json\n\n## Format\n\n{_READING}\n## Recipe\n\n"
        f"```json\n{json.dumps(recipe, indent=1)}\n```\n"
    )


def digital_human_readme(recipe: Mapping[str, Any]) -> str:
    """Return the README.md of ``Digital_Human_Heads_Dataset``."""
    return _readme(
        "Digital human heads",
        "expression",
        "Every picture is drawn by the procedural digital human of any3davatar from CC0 assets\n"
        "(MakeHuman's base mesh and targets). It is not the paper's subset, which was rendered in\n"
        "Unreal Engine from MetaHumans: it has the same structure, cameras and purpose, and looks\n"
        "like a good game character, not like a photograph. Nobody real is shown.",
        recipe,
    )


def accessory_rich_readme(recipe: Mapping[str, Any]) -> str:
    """Return the README.md of ``Accessory_Rich_Heads_Dataset``."""
    return _readme(
        "Accessory-rich heads",
        "accessory",
        "Sixteen views of a digital human in one 4 x 4 grid were edited once, by the editor that\n"
        "the recipe below names, checked across views, and split back. The `procedural` editor\n"
        "renders the same head with the accessory; it is no image editing network. Scores of the\n"
        "checks are in HEAD.json. Decisions made by hand, if any, are in REVIEW.json: a rejected\n"
        "group stays on disk and is left out by the readers.",
        recipe,
    )


def ai_generated_readme(recipe: Mapping[str, Any]) -> str:
    """Return the README.md of ``AI_Generated_Heads_Dataset``."""
    return _readme(
        "AI-generated heads",
        "head",
        "Attributes drawn uniformly from lexicons make a prompt; the prompt makes a frontal\n"
        "portrait; the portrait makes 3D Gaussians; these are rendered, enhanced, and filtered.\n"
        "The back end of each stage is named in the recipe below. Where it says `embedded`, no\n"
        "generative network was involved: the attributes drove the procedural digital human, and\n"
        "the Gaussians were optimised against renders of it, so that the pictures have the\n"
        "artefacts of real Gaussian splats. `CAMERA_PARAMETERS.json` is an addition to the\n"
        "paper's layout.",
        recipe,
    )
