"""Fill in what docs/training.md says about the network that ships.

``python docs/trained_network.py TRAINING_RUN BENCHMARK_RUN``: the folder of `any3davatar train`,
and that of `a3d-bench run --protocol anyhead-64` with `any3davatar` among its methods. Writes the
tables between the page's markers, and ``docs/trained_network.jpg``.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from a3d_bench.report.formats import to_markdown
from a3d_bench.report.results import Results, read_results
from a3d_bench.store import RunFolder
from a3d_bench.tables import main_tables, strata_tables
from any3davatar.core.images import composite
from any3davatar.io import read_png

PAGE = Path(__file__).parent / "training.md"
PICTURE = Path(__file__).parent / "trained_network.jpg"
METHOD = "any3davatar"
SAMPLES_A_ROW = 2_000
TERMS = {"loss": "loss", "render_l2": "L2", "render_lpips": "LPIPS", "render_alpha": "alpha L2"}
AZIMUTHS_DEG = (0.0, 45.0, 90.0, 135.0, 180.0, -90.0)
HEADS_SHOWN = 8
ENLARGED = 2  # a page shows pictures of 64 pixels too small to judge


def main() -> None:
    """Write the tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path)
    parser.add_argument("benchmark", type=Path)
    arguments = parser.parse_args()
    results = read_results(RunFolder.open(arguments.benchmark))
    text = PAGE.read_text()
    text = between(text, "curve", curve(arguments.training))
    text = between(text, "scores", scores(results))
    PAGE.write_text(text)
    sheet(results).save(PICTURE, quality=92)


def between(text: str, name: str, filling: str) -> str:
    """Return the page with what stands between two markers replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{PAGE.name} must hold {begin} and {end}")
    return f"{before}{begin}\n\n{filling.strip()}\n\n{end}{after}"


def curve(run: Path) -> str:
    """Return losses and the score of the held-out heads by samples, as a Markdown table."""
    bent = json.loads((run / "config.json").read_text())["train"]["bend"] > 0
    headings = [f"{name}, bent" if bent and "L2" in name else name for name in TERMS.values()]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    held_out = {line["samples"]: line["psnr_db"] for line in lines if line["kind"] == "held_out"}
    trained = [line for line in lines if line["kind"] == "train"]
    rows = [f"| samples | {' | '.join(headings)} | held-out heads, dB |", "|--:" * 6 + "|"]
    for end in range(SAMPLES_A_ROW, trained[-1]["samples"] + 1, SAMPLES_A_ROW):
        window = [line for line in trained if end - SAMPLES_A_ROW < line["samples"] <= end]
        means = [f"{mean(window, term):.4f}" for term in TERMS]
        rows.append(f"| {end:,} | {' | '.join(means)} | {held_out[end]:.2f} |")
    return "\n".join(rows)


def mean(lines: Iterable[Mapping[str, Any]], term: str) -> float:
    """Return the mean of a term over lines of the log."""
    values = [float(line[term]) for line in lines]
    return sum(values) / len(values)


def scores(results: Results) -> str:
    """Return the main table and the one by angle, as the harness writes them."""
    numbers = results.numbers()
    main_table, _ = main_tables(numbers, results.label, results.unavailable)
    tables = [main_table, *strata_tables(numbers, results.label)[:1]]
    return "\n\n".join(to_markdown(table) for table in tables)


def sheet(results: Results) -> Image.Image:
    """Return some heads from some sides: the truth above what the network makes of the portrait."""
    rows = []
    for capture in results.captures[:HEADS_SHOWN]:
        views = [capture.nearest_view(azimuth) for azimuth in AZIMUTHS_DEG]
        files = results.files[METHOD]
        paths = (
            [files.run.truth_path(capture.slug, view) for view in views],
            [files.run.view_path(files.method, capture.slug, view) for view in views],
        )
        rows.append(torch.cat([strip(each) for each in paths], dim=1))
    half = len(rows) // 2
    both = [torch.cat(rows[:half], dim=1), torch.cat(rows[half : 2 * half], dim=1)]
    pixels = (torch.cat(both, dim=2) * 255).round().byte().permute(1, 2, 0)
    height, width = pixels.shape[:2]
    return Image.fromarray(pixels.numpy()).resize(
        (width * ENLARGED, height * ENLARGED), Image.Resampling.BICUBIC
    )


def strip(paths: Iterable[Path]) -> torch.Tensor:
    """Return pictures side by side over white."""
    white, over_white = torch.ones(3), []
    for path in paths:
        rgb, alpha = read_png(path)
        over_white.append(rgb if alpha is None else composite(rgb, alpha, white))
    return torch.cat(over_white, dim=2)


if __name__ == "__main__":
    main()
