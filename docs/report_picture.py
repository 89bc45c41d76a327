"""Make the README's picture of a report: ``python docs/report_picture.py BENCHMARK_RUN``.

The first three heads of ``a3d-bench run --protocol anyhead-64 --limit 3`` with `any3davatar`,
`mean-head`, `nearest-head` and `billboard`, as the report of that run shows them in Chromium
(Debian's package ``chromium``).
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PICTURE = Path(__file__).parent / "report.png"
WINDOW_PX = (1136, 4200)  # wide enough for six pictures in a row; longer than three heads
MARGIN_PX = 10
OTHER_PARTS = "header, nav, section:not(#pictures), footer, .wall ~ .hint, details"


def main() -> None:
    """Take the picture and cut it to what it shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a3d-bench run")
    report = parser.parse_args().run / "report" / "report.html"
    html = report.read_text()
    if 'class="wall"' not in html:
        raise SystemExit(f"{report} shows no pictures; expected a run that kept those of its heads")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("chromium is not on the PATH; install it: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        # Beside the report, whose pictures have relative addresses.
        page = report.with_name("picture-of-report.html")
        rules = f"<style>{OTHER_PARTS} {{ display: none !important; }}</style></head>"
        page.write_text(html.replace("</head>", rules, 1))
        try:
            subprocess.run(
                [
                    browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    f"--window-size={WINDOW_PX[0]},{WINDOW_PX[1]}", f"--screenshot={shot}",
                    page.resolve().as_uri(),
                ],
                check=True,
                capture_output=True,
            )  # fmt: skip
        finally:
            page.unlink()
        cut(Image.open(shot).convert("RGB")).save(PICTURE, optimize=True)


def cut(shot: Image.Image) -> Image.Image:
    """Return the part of a page that differs from its lower right corner, and the whole width."""
    pixels = np.asarray(shot)
    rows = np.flatnonzero((pixels != pixels[-1, -1]).any(axis=(1, 2)))
    top, bottom = max(int(rows[0]) - MARGIN_PX, 0), int(rows[-1]) + MARGIN_PX
    return shot.crop((0, top, shot.width, min(bottom, shot.height)))


if __name__ == "__main__":
    main()
