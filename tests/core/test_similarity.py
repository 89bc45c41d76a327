import math

import pytest
import torch

from any3davatar.core import Gaussians, InvalidInput, Similarity
from any3davatar.core.rigs import orbit
from any3davatar.core.rotations import axis_angle_to_matrix, quaternion_to_matrix
from any3davatar.core.similarity import fit_similarity
from any3davatar.render import reference, render


def some_similarity() -> Similarity:
    axis = torch.tensor([0.3, 1.0, -0.4], dtype=torch.float64)
    rotation = axis_angle_to_matrix(axis, torch.tensor(0.8, dtype=torch.float64))
    return Similarity(1.7, rotation, torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64))


def some_points(n: int = 30) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64)


def some_gaussians(n: int = 40) -> Gaussians:
    g = torch.Generator().manual_seed(9)
    return Gaussians(
        means=0.3 * torch.randn(n, 3, generator=g, dtype=torch.float64),
        quats=torch.nn.functional.normalize(
            torch.randn(n, 4, generator=g, dtype=torch.float64), dim=-1
        ),
        scales=0.02 + 0.1 * torch.rand(n, 3, generator=g, dtype=torch.float64),
        opacities=torch.rand(n, generator=g, dtype=torch.float64),
        sh=0.4 * torch.randn(n, 16, 3, generator=g, dtype=torch.float64),
    )


def test_inverse_and_composition() -> None:
    similarity, points = some_similarity(), some_points()
    torch.testing.assert_close(similarity.inverse().apply(similarity.apply(points)), points)
    twice = similarity.after(similarity)
    torch.testing.assert_close(twice.apply(points), similarity.apply(similarity.apply(points)))
    torch.testing.assert_close(Similarity.identity().apply(points), points)


def test_moved_gaussians_look_the_same_to_moved_cameras() -> None:
    # Cameras, shapes and view-dependent colours up to degree 3 must all turn together.
    similarity, gaussians = some_similarity(), some_gaussians()
    cameras = orbit([0, 100, 250], [10, -20, 40], size_px=24).to(torch.float64)
    grey = torch.full((3,), 0.4, dtype=torch.float64)
    before = render(gaussians, cameras, grey, backend=reference)
    after = render(
        similarity.apply_to_gaussians(gaussians),
        similarity.apply_to_cameras(cameras),
        grey,
        backend=reference,
    )
    # The orbit's rotations are float32, so they are orthonormal to 1e-7 only.
    torch.testing.assert_close(after.rgb, before.rgb, atol=1e-5, rtol=0)
    assert before.depth is not None
    assert after.depth is not None
    torch.testing.assert_close(after.depth, 1.7 * before.depth, atol=1e-4, rtol=0)


def test_covariances_turn_and_scale() -> None:
    similarity, gaussians = some_similarity(), some_gaussians()
    moved = similarity.apply_to_gaussians(gaussians)

    def covariances(g: Gaussians) -> torch.Tensor:
        spread = quaternion_to_matrix(g.quats) * g.scales[:, None]
        return spread @ spread.mT

    expected = 1.7**2 * similarity.rotation @ covariances(gaussians) @ similarity.rotation.T
    torch.testing.assert_close(covariances(moved), expected)
    moved.validate()


def test_fit_recovers_a_known_similarity_exactly() -> None:
    similarity, points = some_similarity(), some_points()
    fitted, residual = fit_similarity(points, similarity.apply(points))
    assert fitted.scale == pytest.approx(1.7, abs=1e-12)
    torch.testing.assert_close(fitted.rotation, similarity.rotation, atol=1e-12, rtol=0)
    torch.testing.assert_close(fitted.translation, similarity.translation, atol=1e-12, rtol=0)
    assert residual < 1e-12


def test_fit_works_on_points_in_a_plane() -> None:
    similarity, points = some_similarity(), some_points()
    points[:, 2] = 0
    fitted, residual = fit_similarity(points, similarity.apply(points))
    torch.testing.assert_close(fitted.rotation, similarity.rotation, atol=1e-9, rtol=0)
    assert residual < 1e-9


def test_fit_is_least_squares() -> None:
    # No small change of the fit makes the residual smaller.
    generator = torch.Generator().manual_seed(1)
    points = some_points()
    target = some_similarity().apply(points)
    target += 0.1 * torch.randn(30, 3, generator=generator, dtype=torch.float64)
    fitted, residual = fit_similarity(points, target)
    for axis in torch.eye(3, dtype=torch.float64):
        for sign in (-1e-3, 1e-3):
            turn = axis_angle_to_matrix(axis, torch.tensor(sign, dtype=torch.float64))
            others = [
                Similarity(fitted.scale, turn @ fitted.rotation, fitted.translation),
                Similarity(fitted.scale, fitted.rotation, fitted.translation + sign * axis),
                Similarity(fitted.scale + sign, fitted.rotation, fitted.translation),
            ]
            for other in others:
                rms = float((other.apply(points) - target).square().sum(-1).mean().sqrt())
                assert rms > residual


def test_fit_never_mirrors() -> None:
    points = some_points()
    mirrored = points * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    fitted, residual = fit_similarity(points, mirrored)
    assert float(torch.linalg.det(fitted.rotation)) == pytest.approx(1)
    assert residual > 0.1


def test_fits_that_are_not_determined_are_refused() -> None:
    points = some_points()
    line = torch.arange(5.0)[:, None] * torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(InvalidInput, match="at least 3 pairs of points; got 2"):
        fit_similarity(points[:2], points[:2])
    with pytest.raises(InvalidInput, match="source points lie on one line"):
        fit_similarity(line, some_points(5).float())
    with pytest.raises(InvalidInput, match="points to fit must be finite"):
        fit_similarity(points, points / 0)


def test_what_is_not_a_similarity_is_refused() -> None:
    eye, zero = torch.eye(3), torch.zeros(3)
    with pytest.raises(InvalidInput, match="scale must be positive and finite; got -1"):
        Similarity(-1.0, eye, zero)
    with pytest.raises(InvalidInput, match="left and right would swap"):
        Similarity(1.0, torch.diag(torch.tensor([1.0, -1.0, 1.0])), zero)
    with pytest.raises(InvalidInput, match="is not a rotation"):
        Similarity(1.0, 2 * eye, zero)
    assert math.isclose(Similarity(2.0, eye, zero).inverse().scale, 0.5)
