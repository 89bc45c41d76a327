"""A data set of rendered beans, a network of a few thousand weights, and a run of seconds.

As a program it trains, so that a test can kill it or start several of it:
``python -m tests.train.tiny_run DATA RUN TOTAL_SAMPLES BATCH [PAUSE_SECONDS [skip] [compile]]``.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from any3davatar.anyhead import layout
from any3davatar.anyhead.build import build
from any3davatar.anyhead.camera_parameters import write_camera_parameters
from any3davatar.anyhead.pictures import write_views
from any3davatar.anyhead.readers import AnyHead, GroupEntry
from any3davatar.anyhead.records import GroupRecord, HeadRecord, hashes_of
from any3davatar.anyhead.rigs import make_rig
from any3davatar.core import Gaussians
from any3davatar.core.images import straight_rgb
from any3davatar.render import render
from any3davatar.train.config import Machine, TrainConfig
from any3davatar.train.loop import train
from tests.model.tiny import EXTRAS, PAPER

SIZE_PX = 40
BEANS = 4
BLACK = torch.zeros(3)

CONFIG = TrainConfig(
    EXTRAS,
    objective="multi-step",
    lpips_weight=0.0,
    alpha_weight=1.0,
    views_per_sample=3,
    batch=2,
    total_samples=24,
    warmup_samples=4,
    learning_rate=2e-3,
    ema_halflife_samples=8,
    ema_ramp=1.0,
    split="all",
    flip=True,
    hull_groups=BEANS,
    target_distance_min=2.0,
)
PAPER_CONFIG = replace(CONFIG, model=PAPER, flip=False)
MACHINE = Machine(
    accelerator="cpu",
    workers=0,
    log_samples=4,
    checkpoint_samples=8,
    picture_samples=0,
    keep_checkpoints=9,
    tensorboard=False,
)


def bean(seed: int) -> Gaussians:
    """A closed, asymmetric, coloured surface: red to the left, green above, blue in front."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(1500, 3, generator=g), dim=-1)
    radii = torch.tensor([0.3, 0.4, 0.35]) + 0.1 * torch.rand(3, generator=g)
    tint = 0.3 * torch.rand(3, generator=g)
    return Gaussians.from_rgb(
        means=directions * radii + torch.tensor([0.06, 0.0, 0.0]),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(1500, 4).contiguous(),
        scales=torch.full((1500, 3), 0.03),
        opacities=torch.full((1500,), 0.95),
        rgb=(0.5 + directions / 2.5 - tint).clamp(0, 1),
    )


class Beans:
    """A recipe of the data suite that renders beans."""

    subset = layout.DIGITAL_HUMAN

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "beans", "size_px": SIZE_PX}

    def readme(self) -> str:
        return "# Beans\n"

    def head_id(self, seed: int) -> str:
        return layout.head_id("dh", seed)

    def build(self, seed: int, folder: Path) -> HeadRecord:
        rig = make_rig("turntable8", SIZE_PX, seed)
        views = render(bean(seed), rig.cameras, BLACK)
        (folder / "plain").mkdir()
        write_views(
            folder / "plain", straight_rgb(views.rgb, views.alpha, BLACK).clamp(0, 1), views.alpha
        )
        write_camera_parameters(folder / "plain" / layout.CAMERA_PARAMETERS, rig)
        files = hashes_of(folder / "plain")
        group = GroupRecord("plain", {}, (), False, {}, files)
        head = self.head_id(seed)
        return HeadRecord(self.subset, head, head, seed, {}, (group,))


def make_beans(root: Path, count: int = BEANS) -> tuple[GroupEntry, ...]:
    root.mkdir(exist_ok=True)
    build(root, Beans(), list(range(count)), workers=1)
    return tuple(AnyHead(root).groups)


if __name__ == "__main__":
    torch.set_num_threads(1)
    data_root, run_folder = Path(sys.argv[1]), Path(sys.argv[2])
    chosen = replace(CONFIG, total_samples=int(sys.argv[3]), batch=int(sys.argv[4]))
    pause = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    if "skip" in sys.argv[6:]:
        chosen = replace(chosen, on_broken="skip")
    train(
        run_folder,
        chosen,
        replace(MACHINE, compile="compile" in sys.argv[6:]),
        AnyHead(data_root).groups,
        [],
        "beans",
        on_update=lambda: time.sleep(pause),
    )
