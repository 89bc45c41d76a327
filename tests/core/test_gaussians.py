import pytest
import torch

from any3davatar.core import Gaussians, InvalidInput


def some_gaussians(*batch: int, n: int = 5, k: int = 4, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(*batch, n, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(*batch, n, 4, generator=g), dim=-1),
        scales=torch.rand(*batch, n, 3, generator=g) + 0.01,
        opacities=torch.rand(*batch, n, generator=g),
        sh=torch.randn(*batch, n, k, 3, generator=g),
    )


def replaced(name: str, value: torch.Tensor) -> Gaussians:
    return Gaussians(**(some_gaussians().tensors() | {name: value}))


@pytest.mark.border
def test_shapes_are_refused_when_built() -> None:
    with pytest.raises(InvalidInput, match=r"quats has N = 4 but Gaussians\.means has N = 5"):
        replaced("quats", torch.randn(4, 4))
    with pytest.raises(InvalidInput, match=r"scales must have shape \(\*b, N, 3\); got \(5, 2\)"):
        replaced("scales", torch.rand(5, 2))
    with pytest.raises(InvalidInput, match="must number 1, 4, 9 or 16; got 5"):
        replaced("sh", torch.rand(5, 5, 3))
    with pytest.raises(InvalidInput, match=r"must be a floating-point tensor; got torch\.int64"):
        replaced("opacities", torch.ones(5, dtype=torch.int64))


def test_validation_tells_raw_values_from_activated_ones() -> None:
    some_gaussians(2).validate()
    with pytest.raises(InvalidInput, match=r"standard deviations, not logs\); got min -4.2"):
        replaced("scales", torch.full((5, 3), -4.2)).validate()
    with pytest.raises(InvalidInput, match=r"not logits\); got \[-3, -3\]"):
        replaced("opacities", torch.full((5,), -3.0)).validate()
    with pytest.raises(InvalidInput, match=r"norms in \[2, 2\]"):
        replaced("quats", torch.ones(5, 4)).validate()
    with pytest.raises(InvalidInput, match=r"means\[0, 0\] is inf"):
        replaced("means", torch.full((5, 3), float("inf"))).validate()


def test_no_gaussians_at_all_are_valid() -> None:
    empty = some_gaussians().select(torch.zeros(5, dtype=torch.bool)).validate()
    assert empty.count == 0
    assert some_gaussians(2)[:0].validate().batch_shape == (0,)


def test_validation_leaves_gradients_alone() -> None:
    leaf = torch.randn(5, 3, requires_grad=True)
    assert replaced("means", leaf).validate().means is leaf


def test_selection_by_mask_equals_selection_by_index() -> None:
    gaussians = some_gaussians(2)
    mask = torch.tensor([True, False, True, False, False])
    by_mask, by_index = gaussians.select(mask), gaussians.select(torch.tensor([0, 2]))
    for name, tensor in by_mask.tensors().items():
        assert torch.equal(tensor, by_index.tensors()[name])
    assert by_mask.count == 2


def test_stacking_and_indexing_are_inverse() -> None:
    a, b = some_gaussians(seed=1), some_gaussians(seed=2)
    again = Gaussians.stack([a, b])[1]
    assert all(torch.equal(t, b.tensors()[name]) for name, t in again.tensors().items())


def test_concatenation_pads_lower_degrees_with_zeros() -> None:
    merged = Gaussians.concatenate([some_gaussians(k=1), some_gaussians(k=9)])
    assert merged.count == 10
    assert merged.sh_degree == 2
    assert bool((merged.sh[:5, 1:] == 0).all())
    with pytest.raises(InvalidInput, match="merges unbatched sets"):
        Gaussians.concatenate([some_gaussians(2)])
    with pytest.raises(InvalidInput, match="do not fit together"):
        Gaussians.stack([some_gaussians(k=1), some_gaussians(k=4)])


def test_cutting_the_degree_keeps_the_lower_coefficients() -> None:
    gaussians = some_gaussians(k=16)
    cut = gaussians.with_sh_degree(1)
    assert torch.equal(cut.sh, gaussians.sh[:, :4])
    assert cut.with_sh_degree(3).sh.shape == (5, 16, 3)
