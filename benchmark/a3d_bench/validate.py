"""Look at a method's pictures before they are scored: which are not what they should be.

A finding never changes a score. It says, with numbers and a thumbnail, that a view is missing, of
another size, blank, mirrored, swapped with another, or that all of them are converted wrongly: what
a reader should know before believing a column, and what the method's author should mend.

Pictures are compared at 32 x 32, where only the layout counts: a wrong conversion changes that, a
poor reconstruction hardly does. A finding about the layout needs an alternative that explains the
pictures far better than what they should be; for all views, in nearly all of them.

A head unlike the subject has views that are nearer to the truth of another camera than to their
own: hair that is missing from behind is missing less from the side. That alone is no finding. Two
views are *swapped* where each fits the other's truth, and where what tells their pictures apart
runs against what tells their truths apart: differences between two views of one method lack what
all its views have in common (another colour, another haircut, blur).
"""

import itertools
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from a3d_bench.align.diagnosis import mirror_partners
from a3d_bench.align.loading import TruthViews, read_truth
from a3d_bench.store import CaptureRow, RunFolder, write_json
from any3davatar.core import Cameras
from any3davatar.io import FormatError, read_png, write_png

FindingKind = Literal[
    "missing",
    "extra",
    "wrong_size",
    "unreadable",
    "blank",
    "mirrored",
    "swapped",
    "repeated",
    "upside_down",
    "channels_swapped",
    "linear_light",
    "wrong_background",
    "azimuth_reversed",
    "views_shifted",
]

SMALL_PX = 32
BLANK_SPREAD = 0.02  # standard deviation of a picture that shows nothing
CLEAR_GAIN = 0.6  # an alternative must leave at most this share of the difference
# Encoding brightens: a mean head that is too dark for its subject gains by it too, but half of the
# difference stays.
LINEAR_GAIN = 0.35
ALSO_LIKELY = 1.5  # a nearly symmetric head looks flipped where it is seen from the other side
NEARLY_ALL = 0.8  # of the views, for a finding about all of them
ERROR_MIN = 1e-3  # mean square at 32 x 32 below which a view fits anyway (30 dB)
VIEWS_MIN = 4  # for a finding about all views
SWAP_GAIN = 0.8  # exchanged, two views must leave at most this share of their difference
# Correlation of the pictures' difference with their truths': exchanged views of exact pictures have
# -1; the worst pair of our controls, 16 heads x 80 views, -0.54 (a billboard), -0.35 (other heads).
SWAP_CORRELATION = -0.6
REPEATED_AWAY = 1 / 255  # largest difference, at 32 x 32, of two pictures that are one
REPEATED_MOST = 0.25  # of the views: more is the method's way
BACKGROUND_AWAY = 0.1  # of the median border colour
THUMBNAIL_PX = 160


@dataclass(frozen=True)
class Finding:
    """Something odd about a method's pictures of a capture.

    Attributes:
        kind: what.
        view: index of the view, or None where it is about all of them.
        message: one line: what, and what to look at.
        numbers: the evidence.
        thumbnail: path from the folder ``validation/{method}``: truth beside prediction; empty
            where there is no picture to show.
    """

    kind: FindingKind
    view: int | None
    message: str
    numbers: Mapping[str, float]
    thumbnail: str = ""


@dataclass(frozen=True, eq=False)
class _Pictures:
    """What is compared: pictures over the protocol's background."""

    predicted: dict[int, Float[Tensor, "3 H W"]]
    truth: TruthViews
    background: Float[Tensor, "3"]
    cameras: Cameras

    @property
    def small(self) -> dict[int, Float[Tensor, "3 S S"]]:
        """Predictions, made small."""
        return {v: _small(picture) for v, picture in self.predicted.items()}


def validate(run: RunFolder, method: str, capture_row: CaptureRow) -> list[Finding]:
    """Return what is odd about a method's views of a capture, and write it down.

    ``RUN/validation/{method}/{capture}.json`` gets the findings, ``{capture}/NNN.png`` beside it
    the thumbnails: truth at the left, prediction at the right.

    Raises:
        BenchError: the run is damaged.
        FormatError: a true picture is damaged.
    """
    background = torch.tensor(run.protocol().picture.background)
    cameras = run.cameras(capture_row.slug)
    truth = read_truth(run, capture_row, background)
    found, predicted = _files(run, method, capture_row, (cameras.height, cameras.width))
    blank = [v for v, picture in predicted.items() if _is_blank(picture, truth.rgb[v])]
    found += [_blank(v, predicted[v]) for v in blank]
    shown = {v: picture for v, picture in predicted.items() if v not in blank}
    pictures = _Pictures(shown, truth, background, cameras)
    found += _of_all(pictures) or _of_each(pictures)
    folder = run.capture_folder("validation", method, capture_row.slug)
    if folder.exists():
        shutil.rmtree(folder)
    findings = [_with_thumbnail(run, method, capture_row, f, truth, predicted) for f in found]
    write_json(folder.with_name(f"{folder.name}.json"), [asdict(f) for f in findings])
    return findings


def _files(
    run: RunFolder, method: str, row: CaptureRow, size: tuple[int, int]
) -> tuple[list[Finding], dict[int, Tensor]]:
    """Return what is wrong with the files, and the pictures that can be looked at."""
    found: list[Finding] = []
    pictures: dict[int, Tensor] = {}
    for view in range(len(row.views)):
        path = run.view_path(method, row.slug, view)
        if path.is_symlink() or not path.is_file():
            found.append(Finding("missing", view, f"there is no file views/{path.name}", {}))
            continue
        try:
            rgb, _ = read_png(path)
        except (FormatError, OSError) as error:
            words = str(error).replace(str(path), f"views/{path.name}")
            found.append(Finding("unreadable", view, words, {}))
            continue
        height, width = rgb.shape[1:]
        if (height, width) != size:
            words = f"{width} x {height} pixels, expected {size[1]} x {size[0]}"
            numbers = {"width_px": float(width), "height_px": float(height)}
            found.append(Finding("wrong_size", view, words, numbers))
            continue
        pictures[view] = rgb
    expected = {run.view_path(method, row.slug, v).name for v in range(len(row.views))}
    folder = run.view_path(method, row.slug, 0).parent
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    for name in [n for n in names if n not in expected]:
        words = f"views/{ascii(name)[1:-1]} is no view of the protocol; it is not looked at"
        found.append(Finding("extra", None, words, {}))
    return found, pictures


def _is_blank(picture: Tensor, truth: Tensor) -> bool:
    shows_something = float(truth.flatten(1).std(dim=1).max()) > 2 * BLANK_SPREAD
    return shows_something and float(picture.flatten(1).std(dim=1).max()) < BLANK_SPREAD


def _blank(view: int, picture: Tensor) -> Finding:
    color = [round(float(c), 3) for c in picture.mean((1, 2))]
    return Finding(
        "blank",
        view,
        f"one colour all over: {color}",
        {"spread": float(picture.flatten(1).std(dim=1).max())},
    )


def _small(picture: Tensor) -> Tensor:
    return F.interpolate(picture[None], (SMALL_PX, SMALL_PX), mode="area")[0]


def _error(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())


def _of_all(pictures: _Pictures) -> list[Finding]:
    """Return what is wrong with all views alike; then single views are not looked at further."""
    views = list(pictures.predicted)
    if len(views) < VIEWS_MIN:
        return []
    small = pictures.small
    truth = {v: _small(picture) for v, picture in pictures.truth.rgb.items()}
    as_is = {v: _error(small[v], truth[v]) for v in views}
    found: list[Finding] = []
    alternatives: list[tuple[FindingKind, str, dict[int, float]]] = [
        (
            "upside_down",
            "fit the truth turned upside down: are rows written from the bottom up?",
            {v: _error(small[v].flip(-2), truth[v]) for v in views},
        ),
        (
            "mirrored",
            "fit the truth flipped left to right: is the picture's x axis reversed?",
            {v: _error(small[v].flip(-1), truth[v]) for v in views},
        ),
        (
            "azimuth_reversed",
            "fit the truth of the camera on the other side of the face: does the azimuth grow "
            "the other way?",
            _other_side(small, truth, pictures.cameras),
        ),
        (
            "channels_swapped",
            "fit the truth with red and blue exchanged: were they written as BGR?",
            {v: _error(small[v].flip(-3), truth[v]) for v in views},
        ),
        (
            "linear_light",
            "fit the truth after sRGB encoding: were linear values written?",
            {v: _error(_encoded(small[v]), truth[v]) for v in views},
        ),
    ]
    offset, shifted = _best_offset(small, truth, len(pictures.truth.rgb))
    if shifted:
        words = f"fit the truth of the view {offset:+d} further: are they counted from another?"
        alternatives.append(("views_shifted", words, shifted))
    clear: list[tuple[float, FindingKind, str, dict[int, float]]] = [
        (sum(errors.values()) / max(sum(as_is[v] for v in errors), 1e-12), kind, words, errors)
        for kind, words, errors in alternatives
        if _is_clear(errors, as_is, LINEAR_GAIN if kind == "linear_light" else CLEAR_GAIN)
    ]
    if clear:
        clear.sort(key=lambda c: c[0])
        share, kind, words, errors = clear[0]
        close = [name for other, name, _, _ in clear[1:] if other < ALSO_LIKELY * share]
        if close:
            words += f" (nearly as likely: {', '.join(close).replace('_', ' ')})"
        better = sum(errors[v] < as_is[v] for v in errors)
        found.append(
            Finding(
                kind,
                None,
                f"{better} of {len(errors)} views {words}",
                {"difference_left": share, "views_better": float(better)}
                | ({"offset": float(offset)} if kind == "views_shifted" else {}),
            )
        )
    return found + _background(pictures)


def _is_clear(errors: Mapping[int, float], as_is: Mapping[int, float], gain: float) -> bool:
    """Tell whether an alternative explains the pictures far better, in nearly all views."""
    if len(errors) < VIEWS_MIN:
        return False
    before = sum(as_is[v] for v in errors)
    better = sum(errors[v] < as_is[v] for v in errors)
    return (
        before / len(errors) > ERROR_MIN
        and sum(errors.values()) < gain * before
        and better >= NEARLY_ALL * len(errors)
    )


def _other_side(
    small: Mapping[int, Tensor], truth: Mapping[int, Tensor], cameras: Cameras
) -> dict[int, float]:
    """Return differences from the truth seen from the other side, where there is such a camera."""
    return {
        v: _error(small[v], truth[partner])
        for v, partner in mirror_partners(cameras).items()
        if v in small and partner != v
    }


def _best_offset(
    small: Mapping[int, Tensor], truth: Mapping[int, Tensor], count: int
) -> tuple[int, dict[int, float]]:
    """Return the constant offset of view indices that fits best, and the differences under it."""
    best: tuple[float, int, dict[int, float]] | None = None
    for offset in range(1, count):
        errors = {v: _error(small[v], truth[(v + offset) % count]) for v in small}
        mean = sum(errors.values()) / len(errors)
        if best is None or mean < best[0]:
            best = mean, offset, errors
    if best is None:
        return 0, {}
    return (best[1] if best[1] <= count // 2 else best[1] - count), best[2]


def _encoded(linear: Tensor) -> Tensor:
    """Return sRGB values of linear ones (IEC 61966-2-1)."""
    high = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, high)


def _background(pictures: _Pictures) -> list[Finding]:
    """Compare what lies behind the head with the background of the protocol."""
    colors: list[Tensor] = []
    for v, picture in pictures.predicted.items():
        clear = pictures.truth.alpha[v][0] < 0.01
        clear[4:-4, 4:-4] = False  # a larger head than the truth's may cover more of the middle
        if int(clear.sum()) >= 16:
            colors.append(picture[:, clear].median(dim=1).values)
    if len(colors) < VIEWS_MIN:
        return []
    typical = torch.stack(colors).median(dim=0).values
    away = float((typical - pictures.background).abs().max())
    odd = sum(float((c - pictures.background).abs().max()) > BACKGROUND_AWAY for c in colors)
    if away <= BACKGROUND_AWAY or odd < NEARLY_ALL * len(colors):
        return []
    got = [round(float(c), 2) for c in typical]
    wanted = [round(float(c), 2) for c in pictures.background]
    return [
        Finding(
            "wrong_background",
            None,
            f"the background is {got} in {odd} of {len(colors)} views, expected {wanted}",
            {"away": away},
        )
    ]


def _of_each(pictures: _Pictures) -> list[Finding]:
    """Return views that are mirrored, swapped or repeated while the others are not."""
    small = pictures.small
    truth = {v: _small(picture) for v, picture in pictures.truth.rgb.items()}
    if not small:
        return []
    flipped = _flipped(small, truth)
    telling = {v: p for v, p in small.items() if v not in {f.view for f in flipped}}
    repeated = _repeated(telling, truth)
    telling = {v: p for v, p in telling.items() if v not in {f.view for f in repeated}}
    return flipped + repeated + _swapped(telling, truth)


def _flipped(small: Mapping[int, Tensor], truth: Mapping[int, Tensor]) -> list[Finding]:
    """Return views that fit their truth as well as the others do, but flipped."""
    as_is = {v: _error(small[v], truth[v]) for v in small}
    # What the method usually leaves: a view that fits as well as its others is not suspected.
    usual = max(median(as_is.values()), ERROR_MIN)
    found: list[Finding] = []
    for v, picture in small.items():
        error = _error(picture.flip(-1), truth[v])
        if as_is[v] < 2 * usual or error > min(CLEAR_GAIN * as_is[v], 2 * usual):
            continue
        # A picture from the other side of the face looks flipped too; it fits there still better.
        if min(_error(picture, t) for t in truth.values()) < error:
            continue
        words = "fits the truth flipped left to right far better than as it is"
        numbers = {"error": as_is[v], "error_flipped": error}
        found.append(Finding("mirrored", v, words, numbers))
    return found


def _repeated(small: Mapping[int, Tensor], truth: Mapping[int, Tensor]) -> list[Finding]:
    """Return views that show the picture of another one, whose truth is not theirs.

    The one of the two that fits its truth worse is named. A method that draws one picture for many
    cameras (a plane looks alike from its left and its right) mixed nothing up: that is its way.
    """
    views = list(small)
    copies: dict[int, int] = {}
    for first, second in itertools.combinations(views, 2):
        if float((small[first] - small[second]).abs().max()) >= REPEATED_AWAY:
            continue
        if _error(truth[first], truth[second]) > ERROR_MIN:
            far, near = sorted((first, second), key=lambda v: -_error(small[v], truth[v]))
            copies.setdefault(far, near)
    if len(copies) > REPEATED_MOST * len(views):
        return []
    return [
        Finding("repeated", v, f"shows the picture of view {o}", {"other": float(o)})
        for v, o in copies.items()
    ]


def _swapped(small: Mapping[int, Tensor], truth: Mapping[int, Tensor]) -> list[Finding]:
    """Return pairs of views that were exchanged, the clearest first; see the top of this file.

    With pictures p and truths t, exchanging views i and j changes the sum of squares by
    ``2 <p_i - p_j, t_i - t_j>``.
    """
    views = sorted(small)
    shown = torch.stack([small[v].flatten() for v in views])
    wanted = torch.stack([truth[v].flatten() for v in views])
    pixels = shown.shape[1]
    products = shown @ wanted.T / pixels
    own = products.diagonal()
    together = own[:, None] + own - products - products.T  # <p_i - p_j, t_i - t_j>
    lengths = torch.cdist(shown, shown) * torch.cdist(wanted, wanted) / pixels
    errors = (shown - wanted).square().mean(1)
    before = errors[:, None] + errors
    clear = (
        (together < SWAP_CORRELATION * lengths)
        & (before + 2 * together < SWAP_GAIN * before)
        & (before > 2 * ERROR_MIN)
    ).triu(1)
    pairs = sorted(clear.nonzero().tolist(), key=lambda pair: float(together[pair[0], pair[1]]))
    other: dict[int, int] = {}
    for i, j in pairs:
        if i not in other and j not in other:
            other |= {i: j, j: i}
    return [
        Finding(
            "swapped",
            views[i],
            f"is exchanged with view {views[j]}: each fits the other's truth better than its own",
            {
                "error": float(errors[i]),
                "error_other": _error(small[views[i]], truth[views[j]]),
                "other": float(views[j]),
                "correlation": float(together[i, j] / lengths[i, j]),
            },
        )
        for i, j in sorted(other.items())
    ]


def _with_thumbnail(
    run: RunFolder,
    method: str,
    row: CaptureRow,
    finding: Finding,
    truth: TruthViews,
    predicted: Mapping[int, Tensor],
) -> Finding:
    """Write truth and prediction side by side, once a view, and name the file."""
    if finding.kind in ("missing", "unreadable", "wrong_size", "extra"):
        return finding
    view = finding.view if finding.view is not None else _telling(row, predicted)
    if view is None or view not in predicted:
        return finding
    folder = run.capture_folder("validation", method, row.slug)
    path = folder / f"{view:03d}.png"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        pair = torch.cat([truth.rgb[view], predicted[view]], dim=-1)
        height = min(THUMBNAIL_PX, pair.shape[1])
        size = (height, round(pair.shape[2] * height / pair.shape[1]))
        write_png(path, F.interpolate(pair[None], size, mode="area")[0])
    return replace(finding, thumbnail=f"{folder.name}/{path.name}")


def _telling(row: CaptureRow, predicted: Mapping[int, Tensor]) -> int | None:
    """Return a view that shows a wrong conversion well: from half left of the face."""
    return min(predicted, key=lambda v: abs(row.views[v].azimuth_deg - 40), default=None)
