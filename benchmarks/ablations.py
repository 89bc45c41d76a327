"""The paper's ablations at the size of `mini`: arms to train, one run that scores them, a page.

Run from the checkout's root, in this order; each command goes on where it was stopped::

    python -m benchmarks.ablations train DATA ARMS --samples 8000 --processes 2
    python -m benchmarks.ablations score ARMS --run RUN
    python -m benchmarks.ablations page ARMS --run RUN

Vocabulary. An *arm* is a training run that differs from its *reference* in what its settings say.
An *entrant* of the scoring run is an arm at a number of steps N. All arms see the same samples in
the same order. Differences are paired by view, and their intervals are over heads: they do not
know how much another seed of the training would have changed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from a3d_bench.aggregate import (
    Aggregate,
    Estimate,
    MetricTraits,
    checked_scores,
    family_of,
    metric_traits,
)
from a3d_bench.paper import PaperTable, paper_table
from a3d_bench.protocol import AggregationRule
from a3d_bench.report.formats import to_markdown
from a3d_bench.report.pictures import RGB, read_over
from a3d_bench.report.results import Results, read_results
from a3d_bench.statistics import Interval, clustered_interval, subject_means
from a3d_bench.store import RunFolder
from a3d_bench.tables import NOTHING, Cell, Heading, Row, Table, seconds_text
from a3d_bench.timing import timings
from any3davatar.train.config import (
    TRAIN_PRESETS,
    Machine,
    TrainConfig,
    from_json,
    override,
    to_json,
)
from any3davatar.train.log import read_log

if TYPE_CHECKING:
    from typing import Any as Frame
else:
    from pandas import DataFrame as Frame

PRESET = "mini"
PROTOCOL = "anyhead-64"
PAGE = "ablations.md"
STEPS = (1, 5, 10, 20, 30)  # Tables 4 and 5
AZIMUTH_BIN_DEG = 22.5
SHOWN_HEADS = 3
SHOWN_AZIMUTHS_DEG = (0.0, 135.0)
ENLARGED = 3
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito: safe for colour blind


@dataclass(frozen=True)
class Arm:
    """A training run of the ablation.

    Attributes:
        name: of its folder, and of its entrant at N = 1.
        shows: what the comparison is about.
        settings: ``field=value`` on top of the preset.
        reference: the arm that it is compared with.
        steps: each N that it is scored at.
    """

    name: str
    shows: str
    settings: tuple[str, ...] = ()
    reference: str = "one-step"
    steps: tuple[int, ...] = (1,)

    def entrant(self, steps: int) -> str:
        """Return the name under which it is scored at N steps."""
        return self.name if steps == 1 else f"{self.name}-{steps}"

    def config(self) -> TrainConfig:
        """Return the preset with the arm's settings."""
        return override(TRAIN_PRESETS[PRESET], self.settings)


PAPER_CONDITIONING = (
    "model.learned_positions=false",
    "model.aligned_image=false",
    "model.hull_start=false",
    "model.color_skip=false",
    "model.pooled_portrait=false",
    "model.palette_colors=0",
    "model.silhouette=false",
    "model.hull_ways=0",
    "model.hull_waves=0",
    "alpha_weight=0",
)
NO_SILHOUETTE = ("model.hull_ways=0", "model.hull_waves=0", "model.silhouette=false")
NO_HULL = ("model.hull_ways=0", "model.hull_waves=0", "model.hull_start=false")
BENT = ("bend=0.004", "l2_weight=4", "alpha_weight=5")  # as the shipped network was trained
LATENT = ("model.aligned_image=false", "model.noise=latent")

ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("one-step", "the preset as it is: t = 0, no AVAS", steps=STEPS),
        Arm("avas", "auxiliary view-conditioned supervision (Fig. 6)", ("avas=true",), steps=STEPS),
        Arm("multi-step", "t ~ U(0, 1) (Tables 4, 5)", ("objective=multi-step",), steps=STEPS),
        Arm("noise-pixel", "noise in pixels, no rays (D.4)", ("model.noise=pixel",)),
        Arm("no-aligned-image", "the reference of noise-latent", ("model.aligned_image=false",)),
        Arm("noise-latent", "noise in the tokens (D.4)", LATENT, "no-aligned-image"),
        Arm("paper-conditioning", "every switch that is not the paper's off", PAPER_CONDITIONING),
        Arm(
            "no-ways",
            "starts from a mean that follows no portrait",
            (
                "model.hull_ways=0",
                "model.hull_waves=0",
            ),
        ),
        Arm("no-silhouette", "nor knows the portrait's alpha", NO_SILHOUETTE, "no-ways"),
        Arm("no-hull", "nor starts from a mean head", NO_HULL, "no-ways"),
        Arm("no-color-skip", "no colours of the portrait in front", ("model.color_skip=false",)),
        Arm("no-palette", "no palette of the portrait's colours", ("model.palette_colors=0",)),
        Arm("no-pooled-portrait", "AdaLN sees t only", ("model.pooled_portrait=false",)),
        Arm("no-learned-positions", "rays alone say where", ("model.learned_positions=false",)),
        Arm("no-alpha", "no loss on alpha", ("alpha_weight=0",)),
        Arm("bent-errors", "squared errors count as logarithms", BENT),
        Arm("grid-term", "punishes what patches have in common", ("grid_weight=2",)),
        Arm(
            "multi-step-avas",
            "AVAS under the multi-step objective",
            ("objective=multi-step", "avas=true"),
            "multi-step",
        ),
    )
}
AVAS_ARMS = ("one-step", "avas")
NOISE_ARMS = ("one-step", "noise-pixel", "no-aligned-image", "noise-latent")
SWITCH_ARMS = (
    "paper-conditioning",
    "no-ways",
    "no-silhouette",
    "no-hull",
    "no-aligned-image",
    "no-color-skip",
    "no-palette",
    "no-pooled-portrait",
    "no-learned-positions",
    "no-alpha",
)
LOSS_ARMS = ("bent-errors", "grid-term")
PICTURED_ARMS = ("one-step", "avas", "multi-step", *NOISE_ARMS[1:], "paper-conditioning")


def tell(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


# Training and scoring: the two programs of the package, with arguments.


def train(options: argparse.Namespace) -> None:
    """Train each arm in a folder of its own; an arm that is done is only checked."""
    chosen = [ARMS[name] for name in options.only or ARMS]
    shared = (f"total_samples={options.samples}", *options.set)
    # One thread a process: two processes use two cores better than two threads do.
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    for arm in chosen:
        folder = options.arms / arm.name
        tell(f"{arm.name}: {' '.join(arm.settings) or 'the preset as it is'}")
        command = [
            *launcher(options.processes), "train", str(folder),
            "--data", str(options.data), "--preset", PRESET,
            *repeated("--set", (*shared, *arm.settings)),
            *repeated("--machine", options.machine),
            *(["--dry-run"] if options.dry_run else []),
        ]  # fmt: skip
        code = subprocess.run(command, env=environment, check=False).returncode
        if code:
            sys.exit(f"{arm.name}: any3davatar train ended with exit code {code}")
        if not options.dry_run and not weights_of(options.arms, arm).is_file():
            sys.exit(f"{arm.name} was stopped before its end; the same command goes on")


def launcher(processes: int) -> list[str]:
    """Return the beginning of a command that trains in one process or several."""
    program = str(program_beside_python("any3davatar"))
    if processes == 1:
        return [program]
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    return [*torchrun, "--nproc-per-node", str(processes), program]


def program_beside_python(name: str) -> Path:
    """Return a program of this environment."""
    path = Path(sys.executable).with_name(name)
    if not path.is_file():
        sys.exit(f"{path} is missing; install the package into this Python's environment")
    return path


def repeated(option: str, values: Sequence[str]) -> list[str]:
    """Return an option with each value."""
    return [word for value in values for word in (option, value)]


def weights_of(arms: Path, arm: Arm) -> Path:
    """Return where an arm's averaged weights are when it is done."""
    return arms / arm.name / "weights.safetensors"


def variants(arms: Path) -> list[str]:
    """Return what ``a3d-bench run --variant`` takes, for all arms that are done."""
    return [
        f"{arm.entrant(steps)}=any3davatar,checkpoint={weights_of(arms, arm)},steps={steps}"
        for arm in ARMS.values()
        if weights_of(arms, arm).is_file()
        for steps in arm.steps
    ]


def score(options: argparse.Namespace) -> None:
    """Score all arms that are done in one run, at each of their numbers of steps."""
    found = variants(options.arms)
    if not found:
        sys.exit(f"{options.arms} has no arm with weights.safetensors; train one first")
    command = [
        str(program_beside_python("a3d-bench")), "run",
        "--protocol", PROTOCOL, "--out", str(options.run), "--no-report", "--json",
        *repeated("--variant", found),
        *(["--limit", str(options.limit)] if options.limit else []),
        *(["--workers", str(options.workers)] if options.workers else []),
        *(["--data", str(options.data)] if options.data else []),
    ]  # fmt: skip
    sys.exit(subprocess.run(command, check=False).returncode)


# How the arms were trained.


@dataclass(frozen=True)
class Training:
    """What a finished arm's folder says of its training.

    Attributes:
        config: resolved.
        groups: of the data.
        data_digest: SHA-256 of the data.
        processes: that shared each update.
        minutes: of updates; pictures and checkpoints are not counted.
        curve: LPIPS of rendered views, by samples seen.
        held_out_db: mean PSNR of the validation heads that the run drew, by samples seen.
        drawing: ``field=value`` of `Machine`, where it is not the usual: which heads, how often.
    """

    config: TrainConfig
    groups: int
    data_digest: str
    processes: int
    minutes: float
    curve: Mapping[int, float]
    held_out_db: Mapping[int, float]
    drawing: tuple[str, ...]


def training_of(folder: Path) -> Training:
    """Read an arm's folder."""
    run = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    log = read_log(folder)
    lines = [entry for entry in log if entry["kind"] == "train"]
    start = next(entry for entry in log if entry["kind"] == "start")
    usual = Machine()
    seen = [0, *(entry["samples"] for entry in lines)]
    seconds = [
        (after - before) / entry["samples_per_second"]
        for before, after, entry in zip(seen, seen[1:], lines, strict=False)
    ]
    return Training(
        from_json(run["train"]),
        run["data"]["groups"],
        run["data"]["digest"],
        start["processes"],
        sum(seconds) / 60,
        {entry["samples"]: entry["render_lpips"] for entry in lines},
        {entry["samples"]: entry["psnr_db"] for entry in log if entry["kind"] == "held_out"},
        tuple(
            f"{name}={start['machine'][name]}"
            for name in ("held_out", "picture_samples")
            if start["machine"][name] != getattr(usual, name)
        ),
    )


def settings_between(before: TrainConfig, after: TrainConfig) -> tuple[str, ...]:
    """Return the ``field=value`` that make one configuration the other."""

    def flat(config: TrainConfig) -> dict[str, Any]:
        values = to_json(config)
        inner = values.pop("model")
        return {**values, **{f"model.{name}": value for name, value in inner.items()}}

    old = flat(before)
    return tuple(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in flat(after).items()
        if value != old[name]
    )


def shared_settings(trainings: Mapping[str, Training]) -> tuple[str, ...]:
    """Return what every arm was given on top of the preset and its own settings.

    Arms that differ in more than their own settings, or that saw other data, are refused. What all
    were given may be an arm's own setting too.
    """
    shared = {
        name: settings_between(ARMS[name].config(), each.config) for name, each in trainings.items()
    }
    first, *others = shared
    for name in others:
        apart = f"{name} and {first} don't belong on one page"
        own = {*ARMS[name].settings, *ARMS[first].settings}
        if not set(shared[name]) ^ set(shared[first]) <= own:
            got = " against ".join(" ".join(shared[one]) or "nothing" for one in (name, first))
            sys.exit(f"{apart}: beside the arms' own settings they were trained with {got}")
        if trainings[name].data_digest != trainings[first].data_digest:
            sys.exit(f"{apart}: they were trained on other data")
    return shared[first]


def check_weights(results: Results, arms: Path, names: Sequence[str]) -> None:
    """Pass if what was scored are the weights of these folders, or end with what was."""
    for name in names:
        card = results.provenances[0]["methods"][name]["card"]
        scored = Path(card["runner"]["options"]["checkpoint"]).resolve()
        asked = weights_of(arms, ARMS[name]).resolve()
        if scored != asked:
            sys.exit(f"{name} was scored with {scored}, expected {asked}; score these arms again")


# Numbers, and the tables that show them.


@dataclass(frozen=True)
class Number:
    """A mean over heads, with its interval where there are two heads or more."""

    mean: float
    interval: Interval | None


def number_of(estimate: Estimate) -> Number | None:
    """Return an entrant's mean, or None where no view counts."""
    return None if estimate.mean is None else Number(estimate.mean, estimate.interval)


def paired(rows: Frame, one: str, other: str, rule: AggregationRule, seed: int) -> Number | None:
    """Return one entrant minus another, on the views that both have; None where there is none.

    Args:
        rows: of `checked_scores`, of one metric and one alignment.
        one: entrant's id.
        other: entrant's id.
        rule: of the protocol.
        seed: of the protocol.
    """
    wide = rows.pivot(index=["subject", "capture", "view"], columns="method", values="value")
    both = wide.reindex(columns=[one, other]).dropna()
    if both.empty:
        return None
    gaps = (both[one] - both[other]).to_numpy()
    means = subject_means(gaps, [str(subject) for subject, *_ in both.index])
    array = np.array(list(means.values()))
    interval = clustered_interval(
        array, seed=seed, level=rule.interval_level, resamples=rule.bootstrap_resamples
    )
    return Number(float(array.mean()), interval)


def number_cell(number: Number | None, decimals: int, *, signed: bool) -> Cell:
    """Return a number with its interval; a difference carries its sign."""
    if number is None:
        return Cell(NOTHING, emphasis="muted")
    form = f"{'+' if signed else ''}z.{decimals}f"  # z: no negative zero
    ends = number.interval
    detail = f"[{ends.low:{form}}, {ends.high:{form}}]" if ends else ""
    return Cell(f"{number.mean:{form}}", detail, value=number.mean)


@dataclass(frozen=True)
class Scores:
    """The numbers of a scoring run.

    Attributes:
        results: of the run.
        numbers: aggregated from them.
        metrics: in the protocol's order.
    """

    results: Results
    numbers: Aggregate
    metrics: tuple[MetricTraits, ...]

    @staticmethod
    def of(run: Path) -> "Scores":
        """Read a run."""
        results = read_results(RunFolder.open(run))
        return Scores(
            results, results.numbers(), tuple(map(metric_traits, results.protocol.metrics))
        )

    @property
    def entrants(self) -> frozenset[str]:
        """Ids of what was scored."""
        return frozenset(entrant.id for entrant in self.results.entrants)

    def rows(self, metric: MetricTraits) -> Frame:
        """Return the values of a metric after the main alignment."""
        protocol = self.results.protocol
        rows = checked_scores(self.results.scores, protocol)
        return rows[(rows["metric"] == metric.id) & (rows["alignment"] == protocol.alignment.main)]

    def difference(self, rows: Frame, one: str, other: str) -> Number | None:
        """Return one entrant minus another under the protocol's rule for intervals."""
        protocol = self.results.protocol
        return paired(rows, one, other, protocol.aggregation, protocol.seed)

    def seconds(self) -> dict[str, float | None]:
        """Return each entrant's seconds a head, from portrait to Gaussians: the median."""
        rows = timings(self.results.predictions.values())
        devices = {row.device for row in rows}
        if len(devices) > 1:
            sys.exit(f"times of several devices don't belong in one column: {', '.join(devices)}")
        return {row.method: row.infer.median for row in rows}

    @property
    def failures(self) -> int:
        """How many views of all entrants together have no value."""
        return sum(sum(each.values()) for each in self.numbers.failures.values())

    @property
    def device(self) -> str:
        """What it ran on."""
        return next(row.device for row in timings(self.results.predictions.values()))

    def table(
        self, name: str, title: str, corner: str, lines: Sequence[tuple[str, str, str]]
    ) -> Table:
        """Return a table of entrants.

        Args:
            name: of the table.
            title: its caption.
            corner: heading of the first column.
            lines: title of the row, entrant, and the entrant that it is compared with.
        """
        numbers, seconds = self.numbers, self.seconds()
        main = self.results.protocol.alignment.main
        columns = {metric.id: numbers.main.column(metric.id, main) for metric in self.metrics}
        rows = []
        for row_title, entrant, reference in lines:
            cells: list[Cell] = []
            for metric in self.metrics:
                column = columns[metric.id]
                value = None if column is None else number_of(column.estimates[entrant])
                gap = (
                    None
                    if entrant == reference
                    else self.difference(self.rows(metric), entrant, reference)
                )
                cells.append(number_cell(value, metric.decimals, signed=False))
                cells.append(number_cell(gap, metric.decimals, signed=True))
            took = seconds.get(entrant)
            rows.append(Row(row_title, (*cells, Cell(seconds_text(took), value=took))))
        return Table(name, title, corner, headings(self.metrics), tuple(rows))


def headings(metrics: Sequence[MetricTraits]) -> tuple[Heading, ...]:
    """Return two columns a metric, value and difference, and the time."""
    pairs = [
        Heading(part, f"{metric.title} {metric.arrow}")
        for metric in metrics
        for part in ("", "change")
    ]
    return (*pairs, Heading("Time a head"))


def paper_steps(table: PaperTable, metrics: Sequence[MetricTraits]) -> Table:
    """Return the paper's table over steps, with what changes from N = 1."""
    columns = [
        next(column for column in table.columns if column.family == family_of(metric.id))
        for metric in metrics
    ]
    first = table.rows[0]
    rows = []
    for row in table.rows:
        cells: list[Cell] = []
        for column in columns:
            entry, start = table.entry(row, column.name), table.entry(first, column.name)
            assert entry.value is not None
            assert start.value is not None
            gap = None if row == first else Number(entry.value - start.value, None)
            cells.append(Cell(entry.printed, value=entry.value, note=entry.source))
            cells.append(number_cell(gap, entry.decimals, signed=True))
        time = table.entry(row, "Time")
        cells.append(Cell(f"{time.printed} s", value=time.value, note=time.source))
        rows.append(Row(row.removeprefix("step="), tuple(cells)))
    return Table(
        f"paper-{table.number}",
        f"The paper's Table {table.number}, {table.dataset}",
        "N",
        (
            *(Heading(part, column.title) for column in columns for part in ("", "change")),
            Heading("Time a head"),
        ),
        tuple(rows),
    )


# Pictures.


def views_figure(scores: Scores, off: str, on: str, path: Path) -> None:
    """Draw PSNR and SSIM of two entrants by azimuth, and below the difference (Fig. 6)."""
    plt = pyplot()
    metrics = [metric for metric in scores.metrics if family_of(metric.id) in ("psnr", "ssim")]
    figure, panels = plt.subplots(
        2, len(metrics), figsize=(5 * len(metrics), 5.2), sharex=True, squeeze=False,
        layout="constrained", height_ratios=(3, 2),
    )  # fmt: skip
    for column, metric in enumerate(metrics):
        above, below = panels[:, column]
        rows = scores.rows(metric)
        rows = rows[rows["method"].isin([off, on])]
        rows = rows.assign(bin=azimuth_bins(rows["azimuth_deg"]))
        bins = sorted(set(rows["bin"]))
        means = rows.groupby(["method", "bin", "subject"])["value"].mean()
        means = means.groupby(["method", "bin"]).mean()
        for entrant, color, marker in ((off, COLORS[0], "o"), (on, COLORS[1], "s")):
            line = [means[entrant, one] for one in bins]
            above.plot(bins, line, f"{marker}-", color=color, label=entrant, markersize=4)
        gaps = [scores.difference(rows[rows["bin"] == one], on, off) for one in bins]
        centers = [np.nan if gap is None else gap.mean for gap in gaps]
        ends = [(np.nan, np.nan) if gap is None or gap.interval is None
                else (gap.interval.low, gap.interval.high) for gap in gaps]  # fmt: skip
        below.axhline(0, color="#888888", linewidth=0.8)
        below.fill_between(bins, *zip(*ends, strict=True), color="#999999", alpha=0.35, linewidth=0)
        below.plot(bins, centers, "o-", color="#333333", markersize=3)
        unit = f", {metric.unit}" if metric.unit else ""
        above.set_ylabel(f"{metric.title}{unit}")
        below.set_ylabel(f"{on} minus {off}")
        below.set_xlabel("azimuth of the view, degrees (0: front)")
        below.set_xticks([-135, -90, -45, 0, 45, 90, 135, 180])
        for panel in (above, below):
            panel.grid(True, linewidth=0.3)
            panel.spines[["top", "right"]].set_visible(False)
        above.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def azimuth_bins(azimuths_deg: Any) -> Any:
    """Return the centre of each angle's bin, in (-180, 180]."""
    centers = (azimuths_deg / AZIMUTH_BIN_DEG).round() * AZIMUTH_BIN_DEG
    return 180 - (180 - centers) % 360


def training_figure(trainings: Mapping[str, Training], path: Path) -> None:
    """Draw LPIPS of rendered training views over the samples seen."""
    plt = pyplot()
    figure, panel = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for (name, each), color in zip(trainings.items(), COLORS, strict=False):
        seen, values = np.array(list(each.curve)), np.array(list(each.curve.values()))
        # Twenty means: single lines of the log are too noisy to tell arms apart by eye.
        parts = min(20, len(seen))
        ends = [part[-1] for part in np.array_split(seen, parts)]
        panel.plot(
            ends, [part.mean() for part in np.array_split(values, parts)],
            "o-", color=color, label=name, markersize=3,
        )  # fmt: skip
    panel.set_xlabel("samples seen")
    panel.set_ylabel("LPIPS of rendered training views")
    panel.grid(True, linewidth=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def pyplot() -> Any:
    """Return matplotlib's drawing half, without a window."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def wall(results: Results, columns: Sequence[tuple[str, str]], path: Path) -> None:
    """Draw the truth and entrants for the first heads, seen from two sides.

    Args:
        results: of the run.
        columns: heading and entrant.
        path: PNG to write.
    """
    run, background = results.runs[0], results.protocol.picture.background
    shown = [
        (capture, view)
        for capture in results.captures[:SHOWN_HEADS]
        for view in (capture.nearest_view(azimuth) for azimuth in SHOWN_AZIMUTHS_DEG)
    ]
    pictures = [
        [
            read_over(run.truth_path(capture.slug, view), background),
            *(
                read_over(run.view_path(entrant, capture.slug, view), background)
                for _, entrant in columns
            ),
        ]
        for capture, view in shown
    ]
    labels = [f"{capture.views[view].azimuth_deg:z.0f}°" for capture, view in shown]
    mosaic(["truth", *(heading for heading, _ in columns)], labels, pictures).save(path)


def mosaic(
    titles: Sequence[str], labels: Sequence[str], pictures: Sequence[Sequence[RGB | None]]
) -> Image.Image:
    """Return rows of pictures, each pixel enlarged, with titles above and labels at the left."""
    side = ENLARGED * next(p.shape[0] for row in pictures for p in row if p is not None)
    left, top, gap = 46, 26, 4
    width = left + len(titles) * (side + gap)
    sheet = Image.new("RGB", (width, top + len(labels) * (side + gap)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, title in enumerate(titles):
        x = left + column * (side + gap) + side / 2
        draw.text((x, top / 2), title, fill="#222222", font=font, anchor="mm")
    for line, (label, row) in enumerate(zip(labels, pictures, strict=True)):
        y = top + line * (side + gap)
        draw.text((left / 2, y + side / 2), label, fill="#222222", font=font, anchor="mm")
        for column, picture in enumerate(row):
            if picture is not None:
                enlarged = Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
                sheet.paste(enlarged, (left + column * (side + gap), y))
    return sheet


# The page.


def page(options: argparse.Namespace) -> None:
    """Write the page and its pictures from what was trained and scored."""
    scores = Scores.of(options.run)
    names = [name for name in ARMS if name in scores.entrants]
    if not names:
        sys.exit(f"{options.run} has scores of none of the arms: {', '.join(ARMS)}")
    check_weights(scores.results, options.arms, names)
    trainings = {name: training_of(options.arms / name) for name in names}
    options.docs.mkdir(parents=True, exist_ok=True)
    sections = [
        introduction(scores, trainings),
        *steps_section(scores, options.docs),
        *avas_section(scores, options.docs),
        *noise_section(scores, trainings, options.docs),
        *switches_section(scores, trainings),
        *losses_section(scores, trainings),
        *pictures_section(scores, options.docs),
        again(scores.results, trainings),
    ]
    target = options.docs / PAGE
    target.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    tell(f"{target}: {len(names)} arms")


def introduction(scores: Scores, trainings: Mapping[str, Training]) -> str:
    """Say what was compared and at what scale."""
    shared = shared_settings(trainings)
    first = next(iter(trainings.values()))
    config, size_px = first.config, scores.results.protocol.picture.size_px
    arms = "\n".join(
        f"| `{name}` | {ARMS[name].shows} | {settings_text(ARMS[name].settings)} "
        f"| {each.minutes:.1f} | {each.processes} |"
        for name, each in trainings.items()
    )
    commit = scores.results.provenances[0]["software"]["commit"] or "unknown"
    beside = f" with {settings_text(shared)}" if shared else ""
    return f"""\
# Ablations

The comparisons of the paper's section 4.3 (Tables 4 and 5, Figures 4, 6 and 8) and appendix D.4 \
(Figure 16), made with networks that two CPU cores can train. This page is written by `python -m \
benchmarks.ablations`.

**Scale.** Preset `{PRESET}`: {config.model.size_px} pixels, {config.model.gaussians:,} \
Gaussians, {config.total_samples:,} samples in batches of {config.batch}, {first.groups:,} \
training groups (SHA-256 `{first.data_digest[:8]}...`), seed {config.seed}. The paper trains \
512-pixel networks for two days on eight GPUs; what holds at one scale need not hold at the \
other. Scored under `{scores.results.protocol.id}` at {size_px} pixels on \
{scores.results.data_label}, at commit {commit[:12]}; views without a value: {scores.failures}.

**Arms.** All see the same samples in the same order. Each is the preset{beside}, \
changed by the settings of this table.

| arm | what it shows | settings | minutes | processes |
|---|---|---|--:|--:|
{arms}

(Minutes of updates, without pictures and checkpoints; on a machine that other work shares they \
are no measure of cost.)

**How to read the tables.** Values are means over heads with \
{scores.results.protocol.aggregation.interval_level:.0%} intervals. A change is the row minus \
its reference, paired by view, with an interval of its own; the reference is \
`one-step` where the row names no other. Intervals resample heads, and each \
arm was trained once: they do not cover what another training seed would have changed. Times are \
medians from portrait to Gaussians, loading not counted; device: {scores.device}."""


def settings_text(settings: Sequence[str]) -> str:
    """Return settings as they stand in a text."""
    return ", ".join(f"`{setting}`" for setting in settings) or NOTHING


def one_step_lines(scores: Scores, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return rows of `Scores.table` for the arms that were scored and whose references were."""
    lines = []
    for name in names:
        reference = ARMS[name].reference
        if {name, reference} <= scores.entrants:
            title = name if reference in (name, "one-step") else f"{name} (against {reference})"
            lines.append((title, name, reference))
    return lines


def steps_section(scores: Scores, docs: Path) -> Iterator[str]:
    """Yield Tables 4 and 5: quality and time over the number of steps."""
    stepped = [
        arm
        for arm in ARMS.values()
        if len(arm.steps) > 1 and all(arm.entrant(n) in scores.entrants for n in arm.steps)
    ]
    if not stepped:
        return
    yield """\
## Steps

The paper's Tables 4 and 5 take one network, trained without AVAS, through N steps of Eqs. 2-3. \
Here each network is taken through the same N; `one-step` and `avas` were trained at t = 0 only, \
`multi-step` at all t. A change is against the same network at N = 1."""
    for arm in stepped:
        lines = [(str(n), arm.entrant(n), arm.entrant(1)) for n in arm.steps]
        yield markdown(scores.table(f"steps-{arm.name}", f"{arm.name}, by steps", "N", lines))
    yield "The paper's own numbers, at 512 pixels (after ±: the paper does not say what):"
    for number in (4, 5):
        yield markdown(paper_steps(paper_table(number), scores.metrics))
    multi = ARMS["multi-step"]
    if multi in stepped:
        columns = [(f"N = {n}", multi.entrant(n)) for n in multi.steps]
        wall(scores.results, columns, docs / "ablations_steps.png")
        yield (
            "As in Figure 4, `multi-step` over N, from the front and from behind:\n\n"
            "![Views of some heads over the number of steps](ablations_steps.png)"
        )


def avas_section(scores: Scores, docs: Path) -> Iterator[str]:
    """Yield Figure 6: with and without AVAS, by the angle of the view."""
    off, on = AVAS_ARMS
    if not scores.entrants.issuperset(AVAS_ARMS):
        return
    lines = one_step_lines(scores, (*AVAS_ARMS, "multi-step", "multi-step-avas"))
    views_figure(scores, off, on, docs / "ablations_views.png")
    yield f"""\
## AVAS

With `avas=true` the loss also compares four pictures that `D_vae` decodes from the Gaussian \
tokens; at inference nothing changes. The paper draws PSNR and SSIM over the image index (Figure \
6) and gives no numbers.

{markdown(scores.table("avas", "With and without AVAS, one step", "Arm", lines))}

![PSNR and SSIM by azimuth with and without AVAS, and their difference](ablations_views.png)

(Below: the difference by azimuth, with its interval over heads.)"""


def noise_section(scores: Scores, trainings: Mapping[str, Training], docs: Path) -> Iterator[str]:
    """Yield the study of D.4: where noise enters."""
    lines = one_step_lines(scores, NOISE_ARMS)
    if len(lines) < 2:
        return
    training_figure({name: trainings[name] for _, name, _ in lines}, docs / "ablations_noise.png")
    yield f"""\
## Where noise enters

The paper compares noise in pixels with rays (its choice; here `one-step`), noise in pixels \
without rays, and noise in the latent tokens (D.4), in pictures and without numbers. \
`model.noise=latent` leaves no picture for `mini`'s aligned portrait to stand beside, so its \
reference is `no-aligned-image`.

{markdown(scores.table("noise", "Where noise enters, one step", "Arm", lines))}

![LPIPS of rendered training views over the samples seen](ablations_noise.png)"""


def switches_section(scores: Scores, trainings: Mapping[str, Training]) -> Iterator[str]:
    """Yield the arms that turn off what `mini` adds to the paper's network."""
    lines = one_step_lines(scores, ("one-step", *SWITCH_ARMS))
    if len(lines) < 2:
        return
    yield f"""\
## What mini adds to the paper's network

Each row turns off one of `mini`'s switches (docs/model.md), `paper-conditioning` all of them. \
The learning rate and all else stay those of `mini`.

{markdown(scores.table("switches", "Switches off, one step", "Arm", lines))}"""
    yield from over_training(lines, trainings)


def losses_section(scores: Scores, trainings: Mapping[str, Training]) -> Iterator[str]:
    """Yield the arms whose loss is the shipped network's."""
    lines = one_step_lines(scores, ("one-step", *LOSS_ARMS))
    if len(lines) < 2:
        return
    yield f"""\
## What the shipped network's loss adds

Two switches that are off in every preset, and on in the last runs of the network that ships \
(docs/training.md).

{markdown(scores.table("losses", "Switches on, one step", "Arm", lines))}"""
    yield from over_training(lines, trainings)


def over_training(
    lines: Sequence[tuple[str, str, str]], trainings: Mapping[str, Training]
) -> Iterator[str]:
    """Yield what arms change on held-out heads while they are trained.

    Args:
        lines: title of the row, arm, and the arm that it is compared with.
        trainings: by arm.
    """
    points = sorted(set.intersection(*(set(trainings[arm].held_out_db) for _, arm, _ in lines)))
    if not points:
        return
    rows = []
    for title, arm, reference in lines:
        ours, theirs = trainings[arm].held_out_db, trainings[reference].held_out_db
        own = arm == reference
        gaps = [Number(ours[n] if own else ours[n] - theirs[n], None) for n in points]
        rows.append(Row(title, tuple(number_cell(gap, 2, signed=not own) for gap in gaps)))
    table = Table(
        "over-training",
        "Held-out heads by samples seen: PSNR of the first row, change in dB of the others",
        "Arm",
        tuple(Heading(f"{n:,}") for n in points),
        tuple(rows),
    )
    yield (
        f"{markdown(table)}\n\n(Heads of the validation split from five sides, as the runs drew "
        "them; no intervals.)"
    )


def pictures_section(scores: Scores, docs: Path) -> Iterator[str]:
    """Yield the arms side by side (Figures 8 and 16)."""
    columns = [(name, name) for name in PICTURED_ARMS if name in scores.entrants]
    if len(columns) < 2:
        return
    wall(scores.results, columns, docs / "ablations_arms.png")
    yield (
        "## Side by side\n\nOne step, from the front and from behind (Figures 8 and 16):\n\n"
        "![Views of some heads, one column an arm](ablations_arms.png)"
    )


def again(results: Results, trainings: Mapping[str, Training]) -> str:
    """Say how to make the page again."""
    first = next(iter(trainings.values()))
    shared = shared_settings(trainings)
    beside = [setting for setting in shared if not setting.startswith("total_samples=")]
    chosen = [] if len(trainings) == len(ARMS) else list(trainings)
    typed = [
        *repeated("--set", beside),
        *repeated("--machine", first.drawing),
        *repeated("--only", chosen),
    ]
    limit = f" --limit {len(results.captures)}" if results.partial else ""
    return f"""\
## Make it again

```bash
python -m benchmarks.ablations train DATA ARMS --samples {first.config.total_samples} \
--processes {first.processes}{"".join(f" {word}" for word in typed)}
python -m benchmarks.ablations score ARMS --run RUN{limit}
python -m benchmarks.ablations page ARMS --run RUN
```

`DATA` is the data set of the digest above; [training.md](training.md) says how it was built. Each \
command goes on where it was stopped."""


def markdown(table: Table) -> str:
    """Return a table for the page."""
    return to_markdown(table).strip()


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="{train,score,page}")

    training = commands.add_parser("train", help="train the arms, one after the other")
    training.set_defaults(action=train)
    training.add_argument("data", type=Path, help="root of an AnyHead data set")
    training.add_argument("arms", type=Path, help="folder with one run an arm")
    training.add_argument("--samples", type=int, required=True, help="of each arm")
    training.add_argument("--only", action="append", choices=ARMS, help="an arm; again for more")
    training.add_argument("--processes", type=int, default=1, help="that share each update")
    training.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="for every arm"
    )
    training.add_argument(
        "--machine", action="append", default=[], metavar="FIELD=VALUE", help="how to carry it out"
    )
    training.add_argument("--dry-run", action="store_true", help="measure a few updates of each")

    scoring = commands.add_parser("score", help="score all arms that are done, in one run")
    scoring.set_defaults(action=score)
    scoring.add_argument("arms", type=Path)
    scoring.add_argument("--run", type=Path, required=True, help="folder of the run")
    scoring.add_argument("--data", type=Path, help="captures; anyhead-mini is drawn without it")
    scoring.add_argument("--limit", type=int, help="heads at most")
    scoring.add_argument("--workers", type=int, help="processes")

    writing = commands.add_parser("page", help="write the page and its pictures")
    writing.set_defaults(action=page)
    writing.add_argument("arms", type=Path)
    writing.add_argument("--run", type=Path, required=True, help="folder of the run")
    writing.add_argument("--docs", type=Path, default=Path("docs"), help="where the page goes")

    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
