"""What the README shows in Python runs as it stands there, and what it measures was measured."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from any3davatar.core import Gaussians, Views
from any3davatar.io import read_gaussians, write_gaussians

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.weights
def test_its_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    generator = torch.Generator().manual_seed(0)
    head = Gaussians.from_rgb(
        means=0.3 * torch.randn(50, 3, generator=generator),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(50, 1),
        scales=torch.full((50, 3), 0.05),
        opacities=torch.full((50,), 0.9),
        rgb=torch.rand(50, 3, generator=generator),
    )
    write_gaussians(tmp_path / "HEAD.ply", head)
    Image.fromarray(data.astronaut()).save(tmp_path / "me.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    views = names["views"]
    assert isinstance(views, Views)
    assert views.rgb.shape == (80, 3, 512, 512)
    assert 0.01 < float(views.alpha.mean()) < 0.9
    assert read_gaussians("me.ply").count == 4 * 64**2


def test_its_rasterizer_table_is_the_measurement() -> None:
    def milliseconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.2g}"

    def times(ratio: float | None) -> str:
        return "-" if ratio is None else f"{ratio:.0f}"

    measured = json.loads((README.parent / "docs" / "raster.json").read_text())
    expected = []
    for case in measured["cases"]:
        row, what = case["by_threads"]["2"], case["case"]
        expected.append(
            [
                f"{what['size_px']} ({what['views']})",
                milliseconds(row["cpu"]["forward_ms"]),
                milliseconds(row["cpu"]["backward_ms"]),
                f"{times(row['forward_ratio'])} / {times(row.get('backward_ratio'))}",
            ]
        )
    table = re.search(r"\| Gaussians @ pixels .*\n\|[-:| ]+\n((?:\|.*\n)+)", README.read_text())
    assert table is not None
    rows = [
        [cell.strip().split(" @ ")[-1] for cell in line.strip("|").split("|")]
        for line in table[1].splitlines()
    ]
    assert rows == expected
