"""A set of 3D Gaussians in renderable (post-activation) form."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.core.sh import degree_of, rgb_to_sh0
from any3davatar.core.shapes import check_finite, check_shapes

UNIT_TOLERANCE = (
    1e-3  # largest | |q| - 1 |: half-precision storage passes, raw network output does not
)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """A batch of sets of N Gaussians.

    Attributes:
        means: (*b, N, 3) centres, world units.
        quats: (*b, N, 4) unit quaternions (w, x, y, z), local axes to world.
        scales: (*b, N, 3) standard deviations along the local axes, world units, positive.
        opacities: (*b, N) in [0, 1].
        sh: (*b, N, K, 3) colour coefficients, K in {1, 4, 9, 16}; see `any3davatar.core.sh`.

    Raises:
        InvalidInput: on construction, for wrong shapes, dtypes or devices; values are checked by
            `validate`, at the borders.
    """

    means: Float[Tensor, "*b N 3"]
    quats: Float[Tensor, "*b N 4"]
    scales: Float[Tensor, "*b N 3"]
    opacities: Float[Tensor, "*b N"]
    sh: Float[Tensor, "*b N K 3"]

    def __post_init__(self) -> None:
        check_shapes(
            "Gaussians",
            {
                "means": (self.means, ("N", 3)),
                "quats": (self.quats, ("N", 4)),
                "scales": (self.scales, ("N", 3)),
                "opacities": (self.opacities, ("N",)),
                "sh": (self.sh, ("N", "K", 3)),
            },
        )
        degree_of(self.sh.shape[-2])

    @staticmethod
    def from_rgb(
        means: Float[Tensor, "*b N 3"],
        quats: Float[Tensor, "*b N 4"],
        scales: Float[Tensor, "*b N 3"],
        opacities: Float[Tensor, "*b N"],
        rgb: Float[Tensor, "*b N 3"],
    ) -> "Gaussians":
        """Build Gaussians whose colour `rgb`, in [0, 1], is the same from every side."""
        return Gaussians(means, quats, scales, opacities, rgb_to_sh0(rgb))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading dimensions ``*b``."""
        return tuple(self.means.shape[:-2])

    @property
    def count(self) -> int:
        """N, the number of Gaussians in each set."""
        return self.means.shape[-2]

    @property
    def sh_degree(self) -> int:
        """Degree of the colour coefficients, 0 to 3."""
        return degree_of(self.sh.shape[-2])

    def tensors(self) -> dict[str, Tensor]:
        """Return the five tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def validate(self) -> "Gaussians":
        """Return self, or raise `InvalidInput` for values that no set of Gaussians has."""
        plain = self.detach()  # a judgement of values needs no graph
        check_finite("Gaussians", plain.tensors())
        if plain.means.numel() == 0:
            return self
        if not bool((plain.scales > 0).all()):
            raise InvalidInput(
                "Gaussians.scales must be > 0 (standard deviations, not logs); got min "
                f"{float(plain.scales.min()):.4g}. Is this raw network output or a PLY's log-scale?"
            )
        low, high = float(plain.opacities.min()), float(plain.opacities.max())
        if low < 0 or high > 1:
            raise InvalidInput(
                f"Gaussians.opacities must lie in [0, 1] (not logits); got [{low:.4g}, {high:.4g}]"
            )
        norms = plain.quats.norm(dim=-1)
        if bool(((norms - 1).abs() > UNIT_TOLERANCE).any()):
            raise InvalidInput(
                "Gaussians.quats must be unit quaternions; got norms in "
                f"[{float(norms.min()):.4g}, {float(norms.max()):.4g}]: normalise them first"
            )
        return self

    def select(self, which: Bool[Tensor, "N"] | Int[Tensor, "M"]) -> "Gaussians":
        """Return the Gaussians that a mask keeps or that indices name, in every set alike."""
        index = which.nonzero()[:, 0] if which.dtype == torch.bool else which
        tensors = self.tensors()
        axis = len(self.batch_shape)
        return Gaussians(**{name: t.index_select(axis, index) for name, t in tensors.items()})

    def to(self, target: torch.device | torch.dtype | str) -> "Gaussians":
        """Return the Gaussians on another device or in another floating-point type."""
        return Gaussians(**{name: tensor.to(target) for name, tensor in self.tensors().items()})

    def detach(self) -> "Gaussians":
        """Return the Gaussians cut from the autograd graph."""
        return Gaussians(**{name: tensor.detach() for name, tensor in self.tensors().items()})

    def with_sh_degree(self, degree: int) -> "Gaussians":
        """Return the Gaussians with higher coefficients cut off, or absent ones set to zero."""
        wanted = (degree + 1) ** 2
        degree_of(wanted)
        kept = self.sh[..., :wanted, :]
        missing = wanted - kept.shape[-2]
        return replace(self, sh=torch.nn.functional.pad(kept, (0, 0, 0, missing)))

    def __getitem__(self, index: object) -> "Gaussians":
        if not self.batch_shape:
            raise InvalidInput("a single set of Gaussians cannot be indexed; use `select`")
        return Gaussians(**{name: t[index] for name, t in self.tensors().items()})  # pyright: ignore[reportArgumentType] torch's index type

    @staticmethod
    def stack(sets: Sequence["Gaussians"]) -> "Gaussians":
        """Stack sets of equal N and degree along a new first dimension."""
        return _join(sets, torch.stack)

    @staticmethod
    def concatenate(sets: Sequence["Gaussians"]) -> "Gaussians":
        """Merge unbatched sets into one set; lower SH degrees are padded with zeros."""
        if any(part.batch_shape for part in sets):
            raise InvalidInput("concatenate merges unbatched sets; index the batch first")
        degree = max((part.sh_degree for part in sets), default=0)
        return _join([part.with_sh_degree(degree) for part in sets], torch.cat)


def _join(sets: Sequence[Gaussians], join: object) -> Gaussians:
    if not sets:
        raise InvalidInput("no sets of Gaussians to join; got an empty sequence")
    names = sets[0].tensors()
    try:
        return Gaussians(**{name: join([getattr(s, name) for s in sets]) for name in names})  # pyright: ignore[reportCallIssue]
    except RuntimeError as error:
        shapes = [tuple(s.sh.shape) for s in sets]
        raise InvalidInput(f"sets of Gaussians do not fit together: sh shapes {shapes}") from error
