"""The vocabulary of the harness: what stages hand to each other.

Two kinds of values: what lives in memory (`Capture`, `Portrait`, `Avatar`) and what stages leave in
files (`Prediction`, `Score`). Everything in files is plain JSON or PNG, so that a run can be read,
checked and scored again years later without the method that made it.

Angles are those of `any3davatar.core`: azimuth 0 sees the face, positive toward the subject's left.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from any3davatar.core import Cameras, InvalidInput, Similarity, Views

Status = Literal[
    "ok",
    "missing",
    "unreadable",
    "wrong_size",
    "degenerate",
    "no_face",
    "method_error",
    "timeout",
    "oom",
]
"""What became of a view, of a metric on it, or of a whole subject.

``missing``: no file where one was promised. ``unreadable``: a file that is no picture.
``wrong_size``: a picture of other dimensions. ``degenerate``: blank, or not finite. ``no_face``: a
face metric where no face is found. ``method_error``, ``timeout``, ``oom``: the method failed on the
subject.
"""
STATUSES: tuple[Status, ...] = get_args(Status)

Stratum = Literal["front", "side", "back"]
STRATA: tuple[Stratum, ...] = get_args(Stratum)
FRONT_LIMIT_DEG = 45.0
BACK_LIMIT_DEG = 135.0

Alignment = Literal["none", "landmark2d", "sim3"]
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)


def stratum_of(azimuth_deg: float) -> Stratum:
    """Return where a view lies: front up to 45 degrees from the face, back from 135 on."""
    away = abs((azimuth_deg + 180) % 360 - 180)
    if away <= FRONT_LIMIT_DEG:
        return "front"
    return "back" if away >= BACK_LIMIT_DEG else "side"


@runtime_checkable
class ViewSource(Protocol):
    """A true picture that is read when it is asked for.

    Attributes:
        sha256: digest of the bytes that the picture is decoded from; with the protocol it
            identifies the truth that a metric compares with.
    """

    @property
    def sha256(self) -> str:
        """Digest of the picture's source, hexadecimal."""
        ...

    def read(self) -> Views:
        """Return the picture (no leading dimensions): straight colour, and alpha.

        Raises:
            any3davatar.io.FormatError: damaged.
            OSError: it can't be opened.
        """
        ...


@dataclass(frozen=True, eq=False)
class Capture:
    """One head at one moment, seen by calibrated cameras: what a method is scored on.

    Attributes:
        id: unique in its data set, ``/`` between parts.
        subject: whose head it is; intervals resample subjects, splits keep them together.
        dataset: name of the data set.
        input_view: index of the view that methods are given.
        cameras: (V,) cameras of `views`, in the canonical world (`any3davatar.core`).
        views: V true pictures.
        view_names: V names, unique: a camera's serial number or a frame's file name.
        to_canonical: the map from the data set's own world that was applied to the cameras.
        strata: what reports may split by, beside the angle: ``accessory``, ``expression``, ...
        notes: what was decided while reading: colour correction, matting, frame.
    """

    id: str
    subject: str
    dataset: str
    input_view: int
    cameras: Cameras
    views: tuple[ViewSource, ...]
    view_names: tuple[str, ...]
    to_canonical: Similarity = field(default_factory=Similarity.identity)
    strata: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = (len(self.cameras), len(self.views), len(self.view_names))
        if len(set(counts)) != 1 or not self.views:
            raise InvalidInput(
                f"{self.id}: needs as many cameras as views and names; got {counts[0]} cameras, "
                f"{counts[1]} views, {counts[2]} names"
            )
        if len(set(self.view_names)) != len(self.view_names):
            raise InvalidInput(f"{self.id}: view names must be unique")
        if not 0 <= self.input_view < len(self.views):
            raise InvalidInput(
                f"{self.id}: input_view must be one of {len(self.views)} views; got "
                f"{self.input_view}"
            )

    def __len__(self) -> int:
        return len(self.views)


@dataclass(frozen=True, eq=False)
class Portrait:
    """All that a method may see of a subject.

    Attributes:
        id: of the capture.
        rgb: (3, H, W) over `background`, sRGB in [0, 1].
        alpha: (1, H, W), or None where the protocol shows the photograph only.
        background: (3,) colour behind `rgb` where there is alpha.
        camera: the camera that took it (no leading dimensions), or None where the protocol hides
            it.
    """

    id: str
    rgb: Float[Tensor, "3 H W"]
    alpha: Float[Tensor, "1 H W"] | None
    background: Float[Tensor, "3"]
    camera: Cameras | None


@runtime_checkable
class Avatar(Protocol):
    """What a method makes of a portrait: something that can be looked at from anywhere."""

    def render(self, cameras: Cameras, background: Float[Tensor, "3"]) -> Views:
        """Return (V,) views over the background.

        Args:
            cameras: (V,) in the canonical world.
            background: sRGB colour behind the head.
        """
        ...


@runtime_checkable
class Method(Protocol):
    """A single-image head method that runs in this process."""

    def reconstruct(self, portrait: Portrait, *, seed: int) -> Avatar:
        """Return the head of a portrait.

        Raises:
            MethodError: this portrait can't be reconstructed, with a reason for the report.
        """
        ...


@runtime_checkable
class TruthMethod(Protocol):
    """A control that is shown the truth: a ceiling, never a competitor."""

    def reconstruct_from_truth(
        self, portrait: Portrait, truth: Views, cameras: Cameras, *, seed: int
    ) -> Avatar:
        """Return the head of a portrait whose true (V,) views and cameras are given."""
        ...


class MethodError(RuntimeError):
    """A method can't reconstruct a portrait; the message is the reason that reports show."""


@dataclass(frozen=True)
class Seconds:
    """What a method took for one subject, by stage; None where nobody measured it.

    Attributes:
        load: weights to memory, once; never part of a published time.
        preprocess: cropping, matting, tracking.
        infer: portrait to avatar.
        render: one frame, the median over frames.
        render_p95: one frame, 95th percentile.
        frames: how many frames `render` is the median of.
    """

    load: float | None = None
    preprocess: float | None = None
    infer: float | None = None
    render: float | None = None
    render_p95: float | None = None
    frames: int = 0


@dataclass(frozen=True)
class Prediction:
    """What a method left for one capture, as ``prediction.json`` holds it.

    Attributes:
        protocol_digest: of the protocol it was made under.
        method: id of the method.
        capture: id of the capture.
        subject: of the capture.
        status: ``ok`` where views can be scored.
        reason: one line where the status is not ``ok``.
        files: relative path to SHA-256 of everything that belongs to it: ``views/000.png`` ... by
            view index, ``gaussians.ply`` where the method gives one.
        seconds: by stage.
        timed_by: who held the watch: ``harness`` (in process), ``method`` (its own report),
            ``process`` (the whole command's wall time: includes loading), or ``nobody``.
        peak_rss_bytes: highest resident memory while it ran, or None.
        peak_gpu_bytes: highest allocated GPU memory, or None.
        device: what it ran on: ``cpu: ...`` or ``cuda: ...``, or ``unknown``.
        details: what the method says of itself: version, weights' digest, preprocessing, fallbacks.
    """

    protocol_digest: str
    method: str
    capture: str
    subject: str
    status: Status
    reason: str
    files: Mapping[str, str]
    seconds: Seconds = field(default_factory=Seconds)
    timed_by: Literal["harness", "method", "process", "nobody"] = "nobody"
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    device: str = "unknown"
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """One value: a row of the score table.

    Attributes:
        method: id of the method.
        capture: id of the capture.
        subject: of the capture.
        view: index of the view in the protocol's order.
        view_name: its name.
        azimuth_deg: of its camera.
        elevation_deg: of its camera.
        stratum: front, side or back.
        is_input: whether the method was shown this very view.
        alignment: what was done to the prediction before.
        metric: full id, with its network: ``lpips[alex]``.
        value: None unless the status is ``ok``.
        status: of this value.
        reason: one line where the status is not ``ok``.
        seconds: the subject's reconstruction, `Seconds.infer`.
        peak_rss_bytes: of the subject's reconstruction.
        peak_gpu_bytes: of the subject's reconstruction.
        prediction_sha256: of the picture that was scored, empty where there is none.
        truth_sha256: of the true picture's source.
    """

    method: str
    capture: str
    subject: str
    view: int
    view_name: str
    azimuth_deg: float
    elevation_deg: float
    stratum: Stratum
    is_input: bool
    alignment: Alignment
    metric: str
    value: float | None
    status: Status
    reason: str
    seconds: float | None
    peak_rss_bytes: int | None
    peak_gpu_bytes: int | None
    prediction_sha256: str
    truth_sha256: str
