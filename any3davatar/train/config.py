"""What a run is: `TrainConfig` decides the weights, `Machine` only how fast they come.

`TRAIN_PRESETS` is one table; `override` changes single fields; `to_json` and `from_json` carry a
resolved configuration through a file.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from any3davatar.core.errors import InvalidInput
from any3davatar.model.config import PRESETS, ModelConfig, read_config

Objective = Literal["multi-step", "one-step"]
Decay = Literal["cosine", "power", "constant"]
Precision = Literal["fp32", "bf16"]
OnBroken = Literal["stop", "skip"]
DataSplit = Literal["train", "all"]
ConfigType = TypeVar("ConfigType", bound="TrainConfig | Machine | ModelConfig")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the weights, besides the data and the version of the code.

    Attributes:
        model: the network.
        objective: ``"multi-step"``: t is uniform in (0, 1) and the network sees a mixture of
            noise and clean pictures (Eq. 1); ``"one-step"``: t = 0, pure noise (Eqs. 4-5).
        avas: train `D_vae` too, whose pictures of the canonical views supervise the tokens
            (section 3.4).
        views_per_sample: rendered views that the loss compares.
        l2_weight: lambda_2 of Eq. 6.
        lpips_weight: lambda_p of Eq. 6; 0 needs no LPIPS network.
        alpha_weight: weight of the L2 difference of alpha of the rendered views; 0 in the paper.
        bend: where above 0, the squared error e of a picture's colours or alpha counts as ``bend
            log(1 + e / bend)``: as e itself where it is small, as PSNR counts it where it is large.
            Views that can't be guessed weigh less than those that can. 0 in the paper.
        grid_weight: weight of what the places within a patch have in common over all patches of a
            view (`any3davatar.train.losses.grid_spread`); 0 in the paper.
        batch: samples of an update, over all processes.
        total_samples: samples of the whole run.
        warmup_samples: samples over which the learning rate rises from 0.
        learning_rate: at its highest.
        decay: ``"cosine"`` to 0, ``"power"``: (1 - x)^decay_power, or ``"constant"``.
        decay_power: of ``"power"``.
        weight_decay: of matrices; vectors, and what belongs to a place, are not decayed.
        beta1: of AdamW.
        beta2: of AdamW.
        clip_norm: greatest norm of the gradient.
        ema_halflife_samples: samples after which a weight counts half in the average.
        ema_ramp: the half-life is at most this share of the samples seen, so that early weights
            are forgotten (EDM2).
        precision: ``"bf16"`` runs the network and LPIPS under autocast; weights, rendering and the
            other losses stay float32.
        background: sRGB colour behind all pictures.
        split: ``"train"`` subjects of SPLITS.json, or ``"all"``.
        flip: show each sample mirrored half of the time.
        input_range_deg: the portrait is any view within this angle of the front; 0 takes the
            group's own frontal view.
        target_distance_min: closest camera among the views to compare, world units.
        target_distance_max: farthest one.
        on_broken: a picture that can't be read stops the run, or its sample is left out and
            recorded.
        hull_groups: groups that the mean head is computed from, where the network starts at one.
        ways_groups: groups that `ModelConfig.hull_ways` are computed from.
        ways_groups_before: with weights to begin with: of how many groups the ways of their head
            are. Their regression goes on over the run's own data, and ends as one over both would.
            0 takes the head as it is, or a ``new_head``.
        seed: of the weights, of the order of samples, and of everything drawn for them.
        start_sha256: of the file of weights that the run begins with, in place of those of `seed`;
            empty for none.
        new_head: compute the mean head, and how it follows a portrait, from the run's own data,
            also where the run begins with weights, which have one.

    Raises:
        InvalidInput: a value out of its range, or two that exclude each other.
    """

    model: ModelConfig
    objective: Objective = "one-step"
    avas: bool = True
    views_per_sample: int = 8
    l2_weight: float = 1.0
    lpips_weight: float = 0.5
    alpha_weight: float = 0.0
    bend: float = 0.0
    grid_weight: float = 0.0
    batch: int = 32
    total_samples: int = 1_000_000
    warmup_samples: int = 10_000
    learning_rate: float = 1e-4
    decay: Decay = "cosine"
    decay_power: float = 0.7
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    ema_halflife_samples: int = 20_000
    ema_ramp: float = 0.05
    precision: Precision = "fp32"
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    split: DataSplit = "train"
    flip: bool = False
    input_range_deg: float = 0.0
    target_distance_min: float = 1.0
    target_distance_max: float = 100.0
    on_broken: OnBroken = "stop"
    hull_groups: int = 64
    ways_groups: int = 4_000
    ways_groups_before: int = 0
    seed: int = 0
    start_sha256: str = ""
    new_head: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        counts = ("views_per_sample", "batch", "total_samples", "hull_groups", "ways_groups")
        for name in (*counts, "ema_halflife_samples"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        weights = ("l2_weight", "lpips_weight", "alpha_weight", "grid_weight", "weight_decay")
        for name in (*weights, "bend", "warmup_samples"):
            _require(getattr(self, name) >= 0, f"{name} must be at least 0", getattr(self, name))
        for name in ("learning_rate", "clip_norm", "decay_power", "ema_ramp"):
            _require(getattr(self, name) > 0, f"{name} must be positive", getattr(self, name))
        for name in ("beta1", "beta2"):
            _require(
                0 <= getattr(self, name) < 1, f"{name} must lie in [0, 1)", getattr(self, name)
            )
        _require(
            self.batch <= self.total_samples,
            f"batch must be at most total_samples = {self.total_samples}",
            self.batch,
        )
        _require(
            self.warmup_samples < self.total_samples,
            f"warmup_samples must be below total_samples = {self.total_samples}",
            self.warmup_samples,
        )
        _require(
            self.l2_weight + self.lpips_weight > 0,
            "l2_weight and lpips_weight must not both be 0: nothing would compare colours",
            (self.l2_weight, self.lpips_weight),
        )
        _require(
            all(0 <= value <= 1 for value in self.background),
            "background must lie in [0, 1]",
            self.background,
        )
        _require(
            0 <= self.target_distance_min < self.target_distance_max,
            "target distances must satisfy 0 <= target_distance_min < target_distance_max",
            (self.target_distance_min, self.target_distance_max),
        )
        _require(
            0 <= self.input_range_deg <= 180,
            "input_range_deg must lie in [0, 180]",
            self.input_range_deg,
        )
        _require(
            self.ways_groups_before >= 0,
            "ways_groups_before must be at least 0",
            self.ways_groups_before,
        )
        model = self.model
        _require(
            self.ways_groups_before == 0
            or (model.hull_ways > 0 and self.start_sha256 != "" and not self.new_head),
            "ways_groups_before goes on from the ways of other weights: it needs --start-from and "
            "model.hull_ways, and no new_head",
            self.ways_groups_before,
        )
        aligned = model.aligned_image or model.color_skip or model.silhouette
        _require(
            not (aligned and self.input_range_deg > 0),
            "aligned_image, color_skip and silhouette take the portrait to be seen from the front: "
            "input_range_deg must be 0 with them",
            self.input_range_deg,
        )

    @property
    def needs_clean_views(self) -> bool:
        """Whether a sample must hold the true pictures of the canonical views."""
        return self.avas or self.objective == "multi-step"


@dataclass(frozen=True)
class Machine:
    """How a run is carried out: what may change between two parts of one run.

    Attributes:
        accelerator: as Lightning Fabric names it: ``"auto"``, ``"cpu"``, ``"cuda"``.
        devices: processes on this node; under ``torchrun``, its own number.
        nodes: machines.
        strategy: ``"auto"``, ``"ddp"`` or ``"fsdp"`` (GPUs only).
        micro_batch: samples that a process pushes through at once; 0 takes them all.
        workers: processes that read pictures, for each training process.
        recompute_activations: less memory, more time.
        compile: compile the DiT's blocks (``torch.compile``).
        log_samples: samples between lines of the log.
        checkpoint_samples: samples between checkpoints.
        picture_samples: samples between pictures of the held-out heads; 0 draws none.
        keep_checkpoints: how many of the newest stay.
        milestone_samples: samples between weights files that stay; 0 keeps only the last. A
            multiple of `checkpoint_samples`.
        held_out: heads in the pictures.
        tensorboard: write events beside the log.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    micro_batch: int = 0
    workers: int = 1
    recompute_activations: bool = False
    compile: bool = False
    log_samples: int = 100
    checkpoint_samples: int = 2_000
    picture_samples: int = 2_000
    keep_checkpoints: int = 2
    milestone_samples: int = 0
    held_out: int = 4
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("devices", "nodes", "log_samples", "checkpoint_samples", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("micro_batch", "workers", "picture_samples", "held_out", "milestone_samples"):
            _require(getattr(self, name) >= 0, f"{name} must be at least 0", getattr(self, name))
        # A line of the log is a mean since the line before: a resumed run begins with a new mean.
        _require(
            self.checkpoint_samples % self.log_samples == 0,
            f"checkpoint_samples must be a multiple of log_samples = {self.log_samples}",
            self.checkpoint_samples,
        )
        _require(
            self.milestone_samples % self.checkpoint_samples == 0,
            f"milestone_samples must be a multiple of checkpoint_samples = "
            f"{self.checkpoint_samples}",
            self.milestone_samples,
        )

    def micro_batch_of(self, batch: int, processes: int) -> int:
        """Return the samples that a process pushes through at once.

        Raises:
            InvalidInput: the batch does not divide evenly.
        """
        if batch % processes:
            raise InvalidInput(
                f"batch must be divisible by the {processes} processes; got {batch}: set batch to "
                f"a multiple of {processes}"
            )
        share = batch // processes
        size = self.micro_batch or share
        if share % size:
            raise InvalidInput(
                f"micro_batch must divide the {share} samples that each process has of a batch; "
                f"got {size}"
            )
        return size


def _require(holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise InvalidInput(f"training: {rule}; got {got!r}")


def _check_types(config: Any) -> None:
    hints = get_type_hints(type(config))
    for field in fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if not _fits(value, hint):
            raise InvalidInput(
                f"{type(config).__name__}.{field.name} must be {_words(hint)}; got {value!r}"
            )


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        return (
            isinstance(value, tuple)
            and len(value) == len(inner)
            and all(_fits(v, h) for v, h in zip(value, inner, strict=True))
        )
    if hint is float:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    return type(value) is hint if hint in (int, bool) else isinstance(value, hint)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} numbers"
    return "a finite number" if hint is float else f"of type {hint.__name__}"


# `full` is section 4.1, with the batch of 4 a GPU that the image head allows, on 8 GPUs; its
# 100 epochs are `total_samples` for a data set of 10,000 groups. `mini` is for two CPU cores.
TRAIN_PRESETS: Mapping[str, TrainConfig] = {
    "full": TrainConfig(PRESETS["full"], precision="bf16"),
    "base": TrainConfig(PRESETS["base"], precision="bf16"),
    "small": TrainConfig(PRESETS["small"], learning_rate=3e-4),
    "mini": TrainConfig(
        PRESETS["mini"],
        avas=False,
        views_per_sample=6,
        alpha_weight=1.0,
        batch=2,
        total_samples=100_000,
        warmup_samples=200,
        learning_rate=2e-3,
        decay="power",
        ema_halflife_samples=2_000,
        flip=True,
        target_distance_min=2.0,
    ),
}


def override(config: ConfigType, assignments: Iterable[str]) -> ConfigType:
    """Return the configuration with some fields changed.

    Args:
        config: what to start from.
        assignments: ``field=value`` each; a field of the network is ``model.field=value``. Values
            are JSON (``0.1``, ``true``, ``[1, 1, 1]``) or plain text (``one-step``).

    Raises:
        InvalidInput: no such field, or a value that it can't have.
    """
    changes: dict[str, Any] = {}
    inner: list[str] = []
    names = {field.name for field in fields(config)}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InvalidInput(f"a setting is field=value; got {assignment!r}")
        if name.startswith("model.") and "model" in names:
            inner.append(assignment.removeprefix("model."))
        elif name not in names - {"model"}:
            raise InvalidInput(
                f"{type(config).__name__} has no field {name!r}; it has "
                f"{', '.join(sorted(names - {'model'}))}"
            )
        else:
            changes[name] = _value(text)
    if inner and isinstance(config, TrainConfig):
        changes["model"] = override(config.model, inner)
    return replace(config, **changes)


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value


def to_json(config: TrainConfig | Machine) -> dict[str, Any]:
    """Return a configuration as JSON."""
    return json.loads(json.dumps(asdict(config)))


def from_json(values: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration that `to_json` wrote.

    Raises:
        InvalidInput: fields that are missing or unknown, or values out of their range.
    """
    names = {field.name for field in fields(TrainConfig)}
    if set(values) != names or not isinstance(values["model"], dict):
        raise InvalidInput(
            "a training configuration has other fields than this version's: "
            f"{sorted(set(values) ^ names)}; use the version that wrote it"
        )
    plain: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "model"
    }
    return TrainConfig(model=read_config(values["model"]), **plain)


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return what differs between two configurations, one ``field: old -> new`` each."""
    found = []
    for field in fields(TrainConfig):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if is_dataclass(before):
            for inner in fields(ModelConfig):
                a, b = getattr(before, inner.name), getattr(after, inner.name)
                found += [f"model.{inner.name}: {a!r} -> {b!r}"] if a != b else []
        elif before != after:
            found.append(f"{field.name}: {before!r} -> {after!r}")
    return found
