"""The conformance kit: does a method keep the contract, and is it in the frame that its card says?

The portrait's left half is tinted red and its right half blue. What a method draws must then be red
where the subject's right side is seen and blue where the left is: a mirrored picture, a mirrored
world and swapped cameras show themselves, whatever head the method draws.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from a3d_bench.methods.processes import Limits
from a3d_bench.methods.registry import RegisteredMethod
from a3d_bench.methods.runners import MethodRun, open_method
from a3d_bench.names import slug
from a3d_bench.predict import predict
from a3d_bench.protocol import Protocol, load_protocol
from a3d_bench.store import RunFolder
from a3d_bench.types import Capture, Prediction
from any3davatar.core import Gaussians, Views
from any3davatar.core.rigs import angles_of, orbit
from any3davatar.io import FormatError, read_ply, read_png
from any3davatar.render import render

Verdict = Literal["passed", "failed", "undetermined"]
TINT = 0.5  # how much of the colour is red or blue
_SIZE_PX = 96
_FOV_DEG = 24.0
_ANGLES = [(a, 0.0) for a in range(-150, 181, 30)] + [(0.0, 20.0), (0.0, -20.0)]
_SHOWS = 0.15  # share of the portrait's own tint below which nothing can be told
_FACING_TOLERANCE_DEG = 45.0
_WATCHED_FILES_MAX = 20_000
_SAME_HEAD_DB = 30.0
_MUCH_ALIKE = 1.2  # ratio of squared errors within which two views are as like the portrait


@dataclass(frozen=True)
class Check:
    """One claim of the contract, and what was seen.

    Attributes:
        name: of the check.
        verdict: ``undetermined`` where the method gives no way to tell.
        seen: what was measured, in words.
    """

    name: str
    verdict: Verdict
    seen: str


@dataclass(frozen=True, eq=False)
class MemoryView:
    """A true picture that is in memory.

    Attributes:
        views: one view.
    """

    views: Views

    @property
    def sha256(self) -> str:
        """Digest of its values."""
        digest = hashlib.sha256(self.views.rgb.contiguous().numpy().tobytes())
        digest.update(self.views.alpha.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def read(self) -> Views:
        """Return the picture."""
        return self.views


def probe_head() -> Gaussians:
    """Return a head of simple shapes in the canonical world: hair, ears, eyes, a nose, a mouth."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(6000, 3, generator=generator), dim=-1)
    points = unit * torch.tensor([0.23, 0.31, 0.26])
    skin = torch.tensor([0.80, 0.62, 0.52]).expand_as(points).clone()
    hair = (unit[:, 2] < 0.1) & (unit[:, 1] > -0.5) | (unit[:, 1] > 0.72)
    skin[hair] = torch.tensor([0.25, 0.17, 0.12])
    for center, radius, color in (
        ((0.36, 0.10), 0.17, (0.12, 0.10, 0.10)),
        ((-0.36, 0.10), 0.17, (0.12, 0.10, 0.10)),
        ((0.0, -0.45), 0.2, (0.65, 0.25, 0.25)),
    ):
        near = (unit[:, :2] - torch.tensor(center)).norm(dim=-1) < radius
        skin[near & (unit[:, 2] > 0)] = torch.tensor(color)
    nose = 0.035 * torch.randn(400, 3, generator=generator) + torch.tensor([0.0, -0.03, 0.28])
    means = torch.cat([points, nose])
    rgb = torch.cat([skin, torch.tensor([0.82, 0.60, 0.50]).expand_as(nose)])
    quats = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(means), 4)
    scales = torch.full_like(means, 0.012)
    return Gaussians.from_rgb(means, quats, scales, torch.full_like(means[:, 0], 0.9), rgb)


def probe_capture() -> Capture:
    """Return a capture of `probe_head`, seen from all around."""
    cameras = orbit(
        [a for a, _ in _ANGLES], [e for _, e in _ANGLES], size_px=_SIZE_PX,
        vertical_fov_deg=_FOV_DEG,
    )  # fmt: skip
    rendered = render(probe_head(), cameras, torch.zeros(3))
    straight = (rendered.rgb / rendered.alpha.clamp_min(1e-6)).clamp(0, 1)
    views = tuple(MemoryView(Views(straight[i], rendered.alpha[i])) for i in range(len(cameras)))
    return Capture(
        id="probe/head",
        subject="probe",
        dataset="probe",
        input_view=_ANGLES.index((0, 0.0)),
        cameras=cameras,
        views=views,
        view_names=tuple(f"a{a:+04.0f}e{e:+03.0f}" for a, e in _ANGLES),
    )


def probe_protocol(like: Protocol | None = None) -> Protocol:
    """Return the rules of the probe: the smoke protocol's at the probe's size."""
    return like or load_protocol(
        "smoke", [f"picture.size_px={_SIZE_PX}", 'picture.vertical_fov_deg="none"']
    )


def tinted(views: Views, *, swapped: bool = False) -> Views:
    """Return a view whose left half is reddish and whose right half is bluish, or the reverse."""
    width = views.rgb.shape[-1]
    left = (torch.arange(width) < width / 2).float()
    left = 1 - left if swapped else left
    color = torch.stack([left, torch.zeros(width), 1 - left])[:, None, :]
    return replace(views, rgb=(1 - TINT) * views.rgb + TINT * color)


def balance(rgb: Float[Tensor, "3 H W"], covered: Float[Tensor, "1 H W"]) -> float:
    """Return how much redder than blue the covered pixels are, on average, from -1 to 1."""
    return float(((rgb[0] - rgb[2]) * covered[0]).sum() / covered.sum().clamp_min(1))


def check_method(
    method: RegisteredMethod,
    *,
    limits: Limits | None = None,
    capture: Capture | None = None,
    protocol: Protocol | None = None,
) -> list[Check]:
    """Run a method on tinted portraits and judge what it leaves.

    Args:
        method: which.
        limits: what a subject may take.
        capture: whose head, for methods that need a face; `probe_capture` by default. A method of
            runner ``external`` can be checked only with a capture that it has outputs for.
        protocol: with it, the rules of that capture.
    """
    rules = probe_protocol(protocol)
    plain = capture or probe_capture()
    outside = _Outside(method)
    with tempfile.TemporaryDirectory(prefix="a3d-conformance-") as folder:
        bench = _Bench(RunFolder(Path(folder)), plain, rules)
        with open_method(method, limits) as run:
            bench.run_all(run, again=method.card.runner.kind != "external")
        checks = [_runs(bench.first)]
        if bench.first.status == "ok":
            checks += [
                _complete(bench),
                _upright(bench, method),
                _left_right(bench, method),
                _handedness(bench, method),
                _same_again(bench, method),
                _gaussians_agree(bench),
                _timing(bench),
            ]
        checks.append(outside.check(bench))
    return checks


@dataclass
class _Bench:
    """The runs that the checks look at: the tinted portrait, the swapped one, the first again."""

    folder: RunFolder
    capture: Capture
    protocol: Protocol
    predictions: dict[str, Prediction] = field(default_factory=dict)
    took_s: float = 0.0

    @property
    def first(self) -> Prediction:
        return self.predictions["tinted"]

    def run_all(self, run: MethodRun, *, again: bool) -> None:
        import time

        for name in ("tinted", "swapped", "again") if again else ("tinted",):
            capture = self._tinted(name) if again else self.capture
            start = time.perf_counter()
            self.predictions[name] = predict(
                RunFolder(self.folder.path / name), run, capture, self.protocol
            )
            if name == "again":  # the model is loaded by then
                self.took_s = time.perf_counter() - start
            if self.predictions[name].status != "ok":
                break

    def _tinted(self, name: str) -> Capture:
        views = list(self.capture.views)
        swapped = name == "swapped"
        views = [MemoryView(tinted(view.read(), swapped=swapped)) for view in views]
        return replace(self.capture, views=tuple(views))

    def views_folder(self, name: str) -> Path:
        folder = RunFolder(self.folder.path / name)
        return folder.capture_folder("predictions", self.first.method, slug(self.capture.id))

    def picture(self, view: int, name: str = "tinted") -> Tensor | None:
        path = self.views_folder(name) / "views" / f"{view:03d}.png"
        try:
            return read_png(path)[0]
        except (OSError, FormatError):
            return None

    def background(self) -> Tensor:
        return torch.tensor(self.protocol.picture.background)

    def covered(self, rgb: Tensor) -> Tensor:
        far = (rgb - self.background()[:, None, None]).abs().amax(0, keepdim=True)
        return (far > 0.04).float()

    def balance_at(self, view: int, name: str = "tinted") -> float | None:
        rgb = self.picture(view, name)
        return None if rgb is None else balance(rgb, self.covered(rgb))

    def difference_of_halves(self, rgb: Tensor) -> float:
        half = rgb.shape[-1] // 2
        covered = self.covered(rgb)
        return balance(rgb[..., :half], covered[..., :half]) - balance(
            rgb[..., half:], covered[..., half:]
        )

    def portrait(self) -> Tensor:
        from a3d_bench.pictures import portrait_of

        return portrait_of(self._tinted("tinted"), self.protocol).rgb

    def from_input_deg(self, view: int) -> float:
        azimuths, _ = angles_of(self.capture.cameras.centers)
        away = float(azimuths[view] - azimuths[self.capture.input_view])
        return (away + 180) % 360 - 180

    def nearest_view(self, azimuth_deg: float) -> int:
        azimuths, elevations = angles_of(self.capture.cameras.centers)
        away = ((azimuths - azimuth_deg + 180) % 360 - 180).abs() + elevations.abs()
        return int(away.argmin())


def _runs(prediction: Prediction) -> Check:
    if prediction.status == "ok":
        return Check("runs", "passed", f"a portrait became views on {prediction.device}")
    return Check("runs", "failed", f"{prediction.status}: {prediction.reason}")


def _complete(bench: _Bench) -> Check:
    size = bench.protocol.picture.size_px
    wrong = []
    for view, name in enumerate(bench.capture.view_names):
        rgb = bench.picture(view)
        if rgb is None:
            wrong.append(f"{name} is missing")
        elif tuple(rgb.shape) != (3, size, size):
            wrong.append(f"{name} is {rgb.shape[2]} x {rgb.shape[1]}")
        elif float(rgb.std()) < 1e-3:
            wrong.append(f"{name} is blank")
    if wrong:
        return Check("shapes", "failed", f"{len(wrong)} views: {'; '.join(wrong[:4])}")
    seen = f"all {len(bench.capture)} views are {size} x {size} pixels and not blank"
    return Check("shapes", "passed", seen)


def _upright(bench: _Bench, method: RegisteredMethod) -> Check:
    """Check that the head faces where the portrait was taken from, and stands upright."""
    portrait = bench.portrait()
    turns = {"upright": lambda p: p, "upside down": lambda p: p.flip(-2, -1)}
    found = []
    for view in range(len(bench.capture)):
        rgb = bench.picture(view)
        if rgb is not None and rgb.shape == portrait.shape:
            for words, turn in turns.items():
                found.append((float((turn(rgb) - portrait).square().mean()), view, words))
    right = [
        one
        for one in found
        if one[2] == "upright" and abs(bench.from_input_deg(one[1])) <= _FACING_TOLERANCE_DEG
    ]
    if not right:
        return Check("frame", "undetermined", "no view near the input has the portrait's size")
    error, view, words = min(found)
    name, away = bench.capture.view_names[view], bench.from_input_deg(view)
    seen = f"the view most like the portrait is {name}, {words}, {away:+.0f} degrees from it"
    if min(right)[0] <= error:
        return Check("frame", "passed", seen)
    if not method.card.uses_portrait or min(right)[0] < _MUCH_ALIKE * error:
        return Check("frame", "undetermined", f"{seen}, but others are hardly less alike")
    return Check("frame", "failed", f"{seen}: is the world frame of its card right?")


def _left_right(bench: _Bench, method: RegisteredMethod) -> Check:
    rgb, portrait = bench.picture(bench.capture.input_view), bench.portrait()
    if rgb is None or method.card.runner.kind == "external":
        return Check("left/right", "undetermined", "there is no view of a tinted portrait")
    wanted = bench.difference_of_halves(portrait)
    swapped = bench.picture(bench.capture.input_view, "swapped")
    got = bench.difference_of_halves(rgb)
    if swapped is not None:
        # What both runs share is the head's own colour; half of the difference is the tint's.
        got = (got - bench.difference_of_halves(swapped)) / 2
    share = got / wanted if wanted else 0.0
    seen = f"{share:+.2f} of the portrait's tint, left against right, from the input camera"
    if abs(share) < _SHOWS:
        return Check("left/right", "undetermined", f"{seen}: the portrait hardly shows")
    if share > 0:
        return Check("left/right", "passed", seen)
    return Check("left/right", "failed", f"{seen}: the picture is mirrored")


def _handedness(bench: _Bench, method: RegisteredMethod) -> Check:
    """Check that cameras at the subject's left see what the portrait shows at its right."""
    if method.card.runner.kind == "external":
        return Check("handedness", "undetermined", "there is no view of a tinted portrait")
    wanted = bench.difference_of_halves(bench.portrait()) / 2
    sides = {a: bench.nearest_view(a) for a in (-60.0, 60.0)}
    values = []
    for name, sign in (("tinted", 1), ("swapped", -1)):
        right, left = (bench.balance_at(sides[a], name) for a in (-60.0, 60.0))
        if right is not None and left is not None:
            values.append(sign * (right - left) / 2)
    if not values:
        return Check("handedness", "undetermined", "the views from the sides are missing")
    share = sum(values) / len(values) / wanted if wanted else 0.0
    seen = f"{share:+.2f} of the portrait's tint between the views from the right and the left"
    if abs(share) < _SHOWS:
        return Check("handedness", "undetermined", f"{seen}: the sides look alike")
    if share > 0:
        return Check("handedness", "passed", seen)
    return Check(
        "handedness", "failed", f"{seen}: left and right are swapped: a mirrored world or cameras"
    )


def _same_again(bench: _Bench, method: RegisteredMethod) -> Check:
    again = bench.predictions.get("again")
    if again is None or again.status != "ok":
        return Check("determinism", "undetermined", "it was not run again")
    first = bench.first
    others = [name for name in first.files if again.files.get(name) != first.files[name]]
    if not others:
        return Check(
            "determinism",
            "passed",
            f"all {len(first.files)} files are equal after another portrait",
        )
    seen = f"{len(others)} of {len(first.files)} files differ, {others[0]} first"
    if method.card.seed == "free":
        return Check("determinism", "undetermined", f"{seen}; its card says that runs differ")
    return Check("determinism", "failed", f"{seen}, though its card says seed = {method.card.seed}")


def _gaussians_agree(bench: _Bench) -> Check:
    path = bench.views_folder("tinted") / "gaussians.ply"
    rgb = bench.picture(bench.capture.input_view)
    if not path.is_file() or rgb is None:
        return Check("gaussians", "undetermined", "it leaves no gaussians.ply")
    from a3d_bench.pictures import protocol_cameras

    camera = protocol_cameras(bench.capture, bench.protocol.picture)[
        bench.capture.input_view : bench.capture.input_view + 1
    ]
    shown = render(read_ply(path), camera, bench.background()).rgb[0].clamp(0, 1)
    error = float((shown - rgb).square().mean())
    psnr = 99.0 if error == 0 else -10 * torch.log10(torch.tensor(error)).item()
    seen = f"gaussians.ply and the view from the input camera agree to {psnr:.1f} dB"
    if psnr >= _SAME_HEAD_DB:
        return Check("gaussians", "passed", seen)
    return Check(
        "gaussians", "undetermined", f"{seen}: in another frame, or drawn by more than Gaussians"
    )


def _timing(bench: _Bench) -> Check:
    last = bench.predictions.get("again")
    if last is None or last.timed_by == "nobody" or last.seconds.infer is None:
        return Check("timing", "undetermined", "nobody held a watch")
    seconds, infer = last.seconds, last.seconds.infer
    render_s = (seconds.render or 0.0) * seconds.frames
    told = infer + (seconds.preprocess or 0.0)
    told += render_s if last.timed_by == "harness" else 0.0
    seen = f"{told:.3g} s are accounted for of {bench.took_s:.3g} s, timed by {last.timed_by}"
    if told > 1.05 * bench.took_s:
        return Check("timing", "failed", f"{seen}: more than passed")
    warm_up = float(last.details.get("warm_up_seconds", 0.0))
    deferred = warm_up > max(0.3, 10 * (seconds.render or 0.0), infer)
    if deferred:
        return Check(
            "timing", "failed",
            f"{seen}, but the first frame takes {warm_up:.3g} s: reconstruct() must not put off "
            "its work until something is drawn",
        )  # fmt: skip
    return Check("timing", "passed", seen)


class _Outside:
    """What lies where a method must not write, before and after."""

    def __init__(self, method: RegisteredMethod) -> None:
        # Methods are started in a fresh folder: what is left to litter is what they know by name.
        self._folders = {Path.home(): False}
        if method.folder is not None:
            self._folders[method.folder] = True
        self._before = dict(self._entries())

    def check(self, bench: _Bench) -> Check:
        """Compare."""
        after = dict(self._entries())
        changed = sorted(str(path) for path in after if self._before.get(path) != after[path])
        for name in bench.predictions:
            folder = bench.views_folder(name)
            expected = {"prediction.json", "log.txt", "views", "gaussians.ply"}
            changed += [str(path) for path in folder.iterdir() if path.name not in expected]
        if changed:
            return Check(
                "no writes outside", "failed",
                f"{len(changed)} files appeared or changed outside its folder: "
                f"{', '.join(changed[:3])}",
            )  # fmt: skip
        return Check(
            "no writes outside", "passed",
            f"nothing changed in {', '.join(str(folder) for folder in self._folders)}",
        )  # fmt: skip

    def _entries(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        count = 0
        for folder, deep in self._folders.items():
            for place, folders, names in os.walk(folder):
                hidden = {"__pycache__", ".git", "node_modules"}
                folders[:] = [one for one in folders if one not in hidden] if deep else []
                for name in names:
                    path = Path(place) / name
                    count += 1
                    if count > _WATCHED_FILES_MAX:
                        return
                    try:
                        status = path.lstat()
                    except OSError:
                        continue
                    yield path, (status.st_size, status.st_mtime_ns)


def failed(checks: list[Check]) -> list[Check]:
    """Return the checks that failed."""
    return [check for check in checks if check.verdict == "failed"]


def as_json(checks: list[Check]) -> list[Mapping[str, str]]:
    """Return checks as JSON."""
    return [{"name": check.name, "verdict": check.verdict, "seen": check.seen} for check in checks]
