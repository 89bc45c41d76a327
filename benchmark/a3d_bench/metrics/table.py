"""The rows of the table of metrics, and how each is loaded."""

from a3d_bench.metrics.spec import Metric, MetricSpec
from a3d_bench.weights import BUFFALO_L, DREAMSIM, LPIPS_ALEX, LPIPS_VGG, MOBILEFACENET_CSIM


def _psnr() -> Metric:
    from a3d_bench.metrics.pixels import Psnr

    return Psnr()


def _ssim() -> Metric:
    from a3d_bench.metrics.pixels import Ssim

    return Ssim()


def _lpips_alex() -> Metric:
    from a3d_bench.metrics.perceptual import load_checked_lpips
    from any3davatar.networks.lpips_network import ALEX

    return load_checked_lpips(ALEX)


def _lpips_vgg() -> Metric:
    from a3d_bench.metrics.perceptual import load_checked_lpips
    from any3davatar.networks.lpips_network import VGG

    return load_checked_lpips(VGG)


def _mobilefacenet() -> Metric:
    from a3d_bench.metrics.identity import load_mobilefacenet

    return load_mobilefacenet()


def _buffalo_l() -> Metric:
    from a3d_bench.metrics.identity import BuffaloCsim

    return BuffaloCsim(BUFFALO_L.folder())


def _dreamsim() -> Metric:
    from a3d_bench.metrics.perceptual import DreamSim

    return DreamSim(str(DREAMSIM.path))


def _flip() -> Metric:
    from a3d_bench.metrics.flip import Flip

    return Flip()


_TABLE = (
    MetricSpec(
        id="psnr",
        title="PSNR (dB)",
        direction="higher",
        identity=100.0,
        decimals=2,
        profiles=("paper", "embedded"),
        source="mean over pixels and RGB, data range 1, per picture, at most 100 dB",
        make=_psnr,
    ),
    MetricSpec(
        id="ssim",
        title="SSIM",
        direction="higher",
        identity=1.0,
        decimals=3,
        profiles=("paper", "embedded"),
        source="Gaussian window 11 wide, sigma 1.5, RGB, data range 1, inside windows only",
        make=_ssim,
        size_min_px=11,
    ),
    MetricSpec(
        id="lpips[alex]",
        title="LPIPS (alex)",
        direction="lower",
        identity=0.0,
        decimals=3,
        profiles=("paper", "embedded"),
        source="lpips 0.1.4, version 0.1, AlexNet, RGB in [-1, 1], at the pictures' own size",
        make=_lpips_alex,
        weights=LPIPS_ALEX,
        modules=("lpips",),
        size_min_px=31,
    ),
    MetricSpec(
        id="lpips[vgg]",
        title="LPIPS (VGG)",
        direction="lower",
        identity=0.0,
        decimals=3,
        profiles=("paper", "embedded"),
        source="lpips 0.1.4, version 0.1, VGG-16, RGB in [-1, 1], at the pictures' own size",
        make=_lpips_vgg,
        weights=LPIPS_VGG,
        modules=("lpips",),
        size_min_px=16,
    ),
    MetricSpec(
        id="csim[buffalo_l]",
        title="CSIM (buffalo_l)",
        direction="higher",
        identity=1.0,
        decimals=3,
        profiles=("paper",),
        source="insightface buffalo_l, detection at 640, ArcFace ResNet-50, largest face, cosine",
        make=_buffalo_l,
        weights=BUFFALO_L,
        modules=("insightface", "onnxruntime"),
        extra="paper",
        needs_face=True,
    ),
    MetricSpec(
        id="csim[mobilefacenet]",
        title="CSIM (MobileFaceNet)",
        direction="higher",
        identity=1.0,
        decimals=3,
        profiles=("embedded",),
        source="MobileFaceNet 192-d plus mirror image, five points of FaceMesh, cosine",
        make=_mobilefacenet,
        weights=MOBILEFACENET_CSIM,
        modules=("ai_edge_litert",),
        needs_face=True,
    ),
    MetricSpec(
        id="dreamsim[ensemble]",
        title="DreamSim",
        direction="lower",
        identity=0.0,
        decimals=3,
        profiles=("paper",),
        source="dreamsim 0.2.1, ensemble of DINO, CLIP and OpenCLIP ViT-B/16, 224 px, 1 - cosine",
        make=_dreamsim,
        weights=DREAMSIM,
        modules=("dreamsim",),
        extra="paper",
    ),
    MetricSpec(
        id="flip",
        title="FLIP",
        direction="lower",
        identity=0.0,
        decimals=3,
        profiles=("paper", "embedded"),
        source="flip-evaluator, LDR, 67 pixels per degree, mean over pixels",
        make=_flip,
        modules=("flip_evaluator",),
    ),
)
METRICS: dict[str, MetricSpec] = {spec.id: spec for spec in _TABLE}
