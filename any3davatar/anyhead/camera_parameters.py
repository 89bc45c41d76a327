"""``CAMERA_PARAMETERS.json``: the cameras of a group, and which rig they come from.

The file is a ``cameras.json`` of `any3davatar.io.cameras` with more members, so whatever reads that
reads this::

    {"format": "any3davatar.cameras", "version": 1, "width": 512, "height": 512,
     "rig": "digital80", "seed": 3, "input_view": "016",
     "axes": "OpenCV: x right, y down, z forward; pixel centres at half integers",
     "world": "right-handed, +y up, face along +z, subject's left +x, head in the unit sphere",
     "frames": [{"name": "000", "image": "000.png", "kind": "fixed",
                 "azimuth_deg": 0.0, "elevation_deg": -20.0, "distance": 2.7,
                 "world_to_camera": [[...4], [...4], [...4], [...4]],
                 "K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}, ...]}

``rig`` and ``seed`` give the cameras again (`any3davatar.anyhead.rigs`); the angles are derived
from them, for people. ``input_view`` names the view that a single-image method is given.
"""

import json
from pathlib import Path

import torch

from any3davatar.anyhead.layout import view_id
from any3davatar.anyhead.rigs import Rig, ViewKind
from any3davatar.core.rigs import angles_of
from any3davatar.io import FormatError, atomic_path
from any3davatar.io.cameras import cameras_of
from any3davatar.io.json_file import JsonObject, read_json_object

_AXES = "OpenCV: x right, y down, z forward; pixel centres at half integers"
_WORLD = "right-handed, +y up, face along +z, subject's left +x, head in the unit sphere"


def write_camera_parameters(path: Path, rig: Rig) -> None:
    """Write the cameras of a group; float32 cameras come back bit for bit.

    Raises:
        OSError: the file can't be written.
    """
    rig.cameras.validate()
    azimuths, elevations = angles_of(rig.cameras.centers)
    distances = rig.cameras.centers.norm(dim=-1)
    frames = [
        {
            "name": view_id(v),
            "image": f"{view_id(v)}.png",
            "kind": rig.kinds[v],
            "azimuth_deg": round(float(azimuths[v]), 4),
            "elevation_deg": round(float(elevations[v]), 4),
            "distance": round(float(distances[v]), 5),
            "world_to_camera": rig.cameras.world_to_camera[v].tolist(),
            "K": rig.cameras.K[v].tolist(),
        }
        for v in range(len(rig))
    ]
    content = {
        "format": "any3davatar.cameras",
        "version": 1,
        "width": rig.cameras.width,
        "height": rig.cameras.height,
        "rig": rig.name,
        "seed": rig.seed,
        "input_view": view_id(rig.input_view),
        "axes": _AXES,
        "world": _WORLD,
        "frames": frames,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_camera_parameters(path: Path) -> Rig:
    """Read the cameras of a group.

    Raises:
        FormatError: damaged, of another kind, cameras that no pinhole camera has, or views that
            are not named 000, 001, ... in order.
        OSError: the file can't be opened.
    """
    top = read_json_object(path)
    cameras = cameras_of(top)
    expected = tuple(view_id(v) for v in range(len(cameras.names)))
    if cameras.names != expected:
        raise FormatError(
            f"{path}: got frames named {', '.join(cameras.names[:4])}, ..., expected 000, 001, ... "
            "in order; restore the file"
        )
    kinds: tuple[ViewKind, ...] = tuple(_kind(frame) for frame in top.objects("frames"))
    input_view = top.text("input_view")
    if input_view not in expected:
        raise FormatError(f"{path}: got the input view {input_view[:80]!r}, which is no frame")
    return Rig(
        name=top.text("rig"),
        seed=int(top.number("seed")),
        cameras=cameras.cameras,
        kinds=kinds,
        input_view=expected.index(input_view),
    )


def _kind(frame: JsonObject) -> ViewKind:
    kind = frame.values.get("kind")
    if kind == "fixed":
        return "fixed"
    if kind == "random":
        return "random"
    frame.refuse("kind", "fixed or random")


def differs_from_rig(stored: Rig, again: Rig) -> str | None:
    """Return what is different between stored cameras and those that their rig gives, or None."""
    if len(stored) != len(again):
        return f"{len(stored)} views, expected {len(again)}"
    # The cameras are the same arithmetic; another machine's sines may differ in the last bits.
    for name, tolerance in (("world_to_camera", 1e-5), ("K", 1e-3)):
        ours, theirs = getattr(stored.cameras, name), getattr(again.cameras, name)
        wrong = ~torch.isclose(ours, theirs, rtol=0, atol=tolerance).flatten(1).all(-1)
        if bool(wrong.any()):
            return f"{name} of view {view_id(int(wrong.nonzero()[0]))} is not the rig's"
    if stored.kinds != again.kinds or stored.input_view != again.input_view:
        return "view kinds or input view are not the rig's"
    return None
