"""What a protocol takes of the captures that a folder holds: subjects, cameras, input, views.

Data that is not the protocol's own is scored too, as far as the rules reach; every way in which it
falls short comes back in words, and a report shows them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from a3d_bench.captures.canonical import frontal_view
from a3d_bench.protocol import DataRule, Protocol
from a3d_bench.types import Capture
from any3davatar.core.rigs import angles_of

_FRONTAL_WITHIN_DEG = 15.0


def chosen_subjects(captures: Sequence[Capture], rule: DataRule) -> list[Capture]:
    """Return the captures of the protocol's subjects; all of them where none of these is there."""
    own = [capture for capture in captures if capture.subject in rule.subjects]
    return own or list(captures)


def chosen_views(capture: Capture, protocol: Protocol) -> tuple[Capture, list[str]]:
    """Return a capture with the protocol's views in the protocol's order, and what it lacks.

    The views keep their data set's order; ``spread`` orders them by choice, the input first.
    """
    lacks: list[str] = []
    kept = _cameras(capture, protocol.data, lacks)
    _count(len(kept), protocol.data.expected_views, "views a capture", lacks)
    input_view, how = _input_view(capture, kept, protocol, lacks)
    if protocol.views.rule == "spread" and protocol.views.count is not None:
        kept = _spread(capture, kept, input_view, protocol.views.count)
    return (
        replace(
            capture,
            input_view=kept.index(input_view),
            cameras=capture.cameras[kept],
            views=tuple(capture.views[v] for v in kept),
            view_names=tuple(capture.view_names[v] for v in kept),
            notes={**capture.notes, "input": how},
        ),
        lacks,
    )


def shortcomings(
    captures: Sequence[Capture], lacks: Sequence[str], protocol: Protocol
) -> list[str]:
    """Return every way in which a set falls short of the protocol's own; counted where repeated."""
    rule = protocol.data
    people = "participants" if rule.kind == "nersemble" else "subjects"
    found = []
    if rule.subjects and not any(capture.subject in rule.subjects for capture in captures):
        names = ", ".join(sorted({capture.dataset for capture in captures}))
        found.append(f"not the protocol's own data ({rule.dataset}) but {names}")
    _count(len({capture.subject for capture in captures}), rule.expected_subjects, people, found)
    counts = Counter(lacks)
    return found + [
        lack if times == len(captures) else f"{lack} (in {times} of {len(captures)} captures)"
        for lack, times in sorted(counts.items())
    ]


def _count(got: int, expected: int | None, what: str, lacks: list[str]) -> None:
    if expected is not None and got != expected:
        lacks.append(f"{got} of {expected} {what}" if got < expected else f"{got} {what}")


def _cameras(capture: Capture, rule: DataRule, lacks: list[str]) -> list[int]:
    if not rule.cameras:
        return list(range(len(capture)))
    index = {name: v for v, name in enumerate(capture.view_names)}
    kept = [index[name] for name in rule.cameras if name in index]
    if not kept:
        lacks.append("other cameras than the protocol's: all are used")
        return list(range(len(capture)))
    return kept


def _input_view(
    capture: Capture, kept: Sequence[int], protocol: Protocol, lacks: list[str]
) -> tuple[int, str]:
    """Return the index of the input view in the capture, and how it was found."""
    camera = protocol.input.camera
    if camera is not None:
        if camera in capture.view_names:
            return capture.view_names.index(camera), f"camera {camera}"
        lacks.append(f"no camera {camera}: the view nearest the front is the input")
    cameras = capture.cameras[list(kept)]
    best = frontal_view(cameras)
    # Adding 0 turns -0 into 0, which is how angles of 0 are to be read.
    azimuth, elevation = (
        round(float(angle), 1) + 0.0 for angle in angles_of(cameras.centers[best])
    )
    how = f"nearest the front: azimuth {azimuth:.1f}, elevation {elevation:.1f}"
    if max(abs(azimuth), abs(elevation)) > _FRONTAL_WITHIN_DEG:
        lacks.append("the input is not frontal")
    return kept[best], how


def _spread(capture: Capture, kept: Sequence[int], first: int, count: int) -> list[int]:
    """Return `first` and then, one by one, the view farthest from all that were chosen."""
    toward = torch.nn.functional.normalize(capture.cameras.centers.double(), dim=-1)
    chosen = [first]
    while len(chosen) < min(count, len(kept)):
        # Rounded, so that equal distances are ties on every machine: the first view wins.
        nearest = (toward[list(kept)] @ toward[chosen].T).amax(1).mul(1e6).round()
        nearest[[kept.index(v) for v in chosen]] = torch.inf
        chosen.append(kept[int(nearest.argmin())])
    return chosen
