"""Make the asset of the control `mean-head`: Gaussians fitted to the mean of training heads.

    python baselines/make_mean_head.py DATA baselines/a3d_baselines/assets/mean_head.spz

DATA is a folder of the AnyHead data suite whose groups share the fixed cameras (the first 40 of the
rig ``training``). Only heads of the split ``train`` are averaged, one group each, and only from
those cameras.
"""

import argparse
from pathlib import Path

import torch

from any3davatar.anyhead.readers import AnyHead, HeadCapture
from any3davatar.core import Cameras, Views
from any3davatar.core.images import composite
from any3davatar.fitting import FitConfig, fit_gaussians
from any3davatar.io import write_spz

FIXED_VIEWS = 40
BACKGROUND = torch.ones(3)


def one_group_a_head(data: AnyHead, count: int) -> list[HeadCapture]:
    """Return the first `count` heads' first groups, in the data set's order."""
    first: dict[str, HeadCapture] = {}
    for group in data.groups:
        if group.head.subject not in first:
            first[group.head.subject] = group.capture()
        if len(first) == count:
            break
    return list(first.values())


def mean_views(captures: list[HeadCapture]) -> tuple[Views, Cameras]:
    """Return the mean picture of each fixed camera, over the background, and the cameras."""
    cameras = captures[0].cameras[:FIXED_VIEWS]
    total_rgb = total_alpha = torch.zeros(())
    for capture in captures:
        moved = (capture.cameras[:FIXED_VIEWS].world_to_camera - cameras.world_to_camera).abs()
        if float(moved.max()) > 1e-4:
            raise SystemExit(
                f"{capture.id}: its first {FIXED_VIEWS} cameras are not the fixed ones"
            )
        views = capture.views(*range(FIXED_VIEWS))
        total_rgb = total_rgb + composite(views.rgb, views.alpha, BACKGROUND)
        total_alpha = total_alpha + views.alpha
    return Views(total_rgb / len(captures), total_alpha / len(captures)), cameras


def main() -> None:
    """Average, fit, write."""
    parser = argparse.ArgumentParser(description="Make the asset of the control mean-head.")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--gaussians", type=int, default=14_000)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    captures = one_group_a_head(AnyHead(given.data, split="train"), given.heads)
    views, cameras = mean_views(captures)
    config = FitConfig(n_gaussians=given.gaussians, steps=given.steps)
    write_spz(given.out, fit_gaussians(views, cameras, BACKGROUND, config))


if __name__ == "__main__":
    main()
