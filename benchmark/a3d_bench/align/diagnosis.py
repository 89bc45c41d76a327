"""What is wrong with a prediction's frame, in words that its author can act on."""

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from a3d_bench.align.landmarks import Triangulated
from a3d_bench.align.photometric import turn_deg
from any3davatar.core import Cameras, Gaussians, InvalidInput, Similarity
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.core.rigs import orbit
from any3davatar.core.similarity import fit_similarity
from any3davatar.faces import FaceMesh
from any3davatar.render import render

TURN_ODD_DEG = 30.0  # heads that are only imprecise are turned by less
SCALE_ODD = 1.8
SHIFT_ODD = 0.4  # of the unit sphere
MIRROR_GAIN = 0.5  # a mirror fits at least this much better, or it is none
MIRROR_RESIDUAL_MIN = 0.02  # unit sphere; two faces differ by about half of that
COVERED_MIN = 0.06  # difference from the background, of a pixel that shows something
PAIR_MAX = 0.1  # how far a camera may stand from where its mirror image should, unit sphere
SEARCH_PX = 128
SMALL_PX = 32
_AXIS_NAMES = ("x", "y", "z")


def frame_words(similarity: Similarity) -> list[str]:
    """Say what a similarity from prediction to truth shows of the prediction's frame."""
    words: list[str] = []
    angle = turn_deg(similarity.rotation)
    if angle > TURN_ODD_DEG:
        face = similarity.rotation.T @ similarity.rotation.new_tensor([0.0, 0.0, 1.0])
        up = similarity.rotation.T @ similarity.rotation.new_tensor([0.0, 1.0, 0.0])
        words.append(
            f"the head is turned by {angle:.0f} degrees: its face looks along {_axis(face)} with "
            f"{_axis(up)} up, expected +z with +y up{_known(similarity.rotation)}. Convert the "
            "method's world to ours (face +z, up +y) before rendering"
        )
    grown = 1 / similarity.scale
    if not 1 / SCALE_ODD <= grown <= SCALE_ODD:
        words.append(_scale_words(grown))
    if float(similarity.translation.norm()) > SHIFT_ODD:
        shift = (-similarity.inverse().translation).neg().tolist()
        words.append(
            "the head's centre lies at "
            f"({', '.join(f'{s:+.2f}' for s in shift)}), expected the origin"
        )
    return words


def mirrored_words(source: Triangulated, target: Triangulated) -> list[str]:
    """Say whether landmarks in space fit the truth only as their mirror image.

    Each picture flipped, and the cameras left as they were, turns the face inside out.
    """
    flip = source.points.new_tensor([-1.0, 1.0, 1.0])
    as_mirror = _typical_residual(source.points * flip, target.points)
    as_is = _typical_residual(source.points, target.points)
    if as_is > MIRROR_RESIDUAL_MIN and as_mirror < MIRROR_GAIN * as_is:
        return [
            "the pictures are mirrored: the landmarks fit the truth as a mirror image "
            f"({as_mirror:.3f} of the unit sphere apart) and not as they are ({as_is:.3f}). Is "
            "each picture flipped, or does the azimuth run the other way?"
        ]
    return []


def _typical_residual(source: Tensor, target: Tensor) -> float:
    try:
        fitted, _ = fit_similarity(source, target)
    except InvalidInput:
        return math.inf
    return float((fitted.apply(source) - target).norm(dim=-1).median())


def mirror_partners(cameras: Cameras) -> dict[int, int]:
    """Return, for each camera that has one, the camera on the other side of the face."""
    centers = cameras.centers
    there = centers * centers.new_tensor([-1.0, 1.0, 1.0])
    away = torch.cdist(there, centers)
    nearest = away.argmin(dim=1).tolist()
    scale = float(centers.norm(dim=-1).mean())
    return {i: j for i, j in enumerate(nearest) if float(away[i, j]) <= PAIR_MAX * scale}


def small(picture: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 S S"]:
    """Return a picture small enough that only what is where matters."""
    return F.interpolate(picture[None], (SMALL_PX, SMALL_PX), mode="area")[0]


def mirror_image_words(
    pictures: dict[int, Float[Tensor, "3 H W"]],
    truth: dict[int, Float[Tensor, "3 H W"]],
    cameras: Cameras,
) -> list[str]:
    """Say whether aligned pictures show the subject's mirror image: hair parted on the other side.

    A face is nearly its own mirror image, so landmarks can't tell.
    """
    pairs = [
        (i, j)
        for i, j in mirror_partners(cameras).items()
        if i in pictures and i in truth and j in truth
    ]
    if len(pairs) < 4:
        return []
    as_is = [float((small(pictures[i]) - small(truth[i])).square().mean()) for i, _ in pairs]
    flipped = [
        float((small(pictures[i]) - small(truth[j]).flip(-1)).square().mean()) for i, j in pairs
    ]
    better = sum(m < a for m, a in zip(flipped, as_is, strict=True)) / len(pairs)
    if better > 0.8 and sum(flipped) < MIRROR_GAIN * sum(as_is):
        return [
            "the head looks like the subject's mirror image (left and right swapped): "
            f"{better:.0%} of the views fit the flipped truth of the other side better"
        ]
    return []


def unseen_words(
    pictures: dict[int, Float[Tensor, "3 H W"]],
    alpha: dict[int, Float[Tensor, "1 H W"]],
    background: Float[Tensor, "3"],
    gaussians: Gaussians | None,
    cameras: Cameras,
    faces: FaceMesh,
) -> list[str]:
    """Say why no face may have been seen in a prediction: its size, or the way it looks."""
    if not pictures:
        return ["no view could be read"]
    shares = [covered(p, background).float().mean() for p in pictures.values()]
    shown = torch.stack(shares).median()
    wanted = torch.stack([alpha[i].mean() for i in pictures]).median()
    words: list[str] = []
    grown = None if gaussians is None else _grown(gaussians, alpha, cameras)
    if grown is not None and not 1 / SCALE_ODD <= grown <= SCALE_ODD:
        words.append(_scale_words(grown))
    elif float(shown) < 0.01 * float(wanted):
        words.append("the views are empty: is the head far from the origin, or hundreds of times")
        words[-1] += " too small?"
    elif float(shown) < float(wanted) / SCALE_ODD**2:
        words.append(_scale_words(math.sqrt(float(shown / wanted))))
    elif float(shown) > 0.97 > SCALE_ODD * float(wanted):
        words.append(
            "the head fills every picture: it is several times too large, or the cameras stand "
            "inside it"
        )
    if gaussians is not None:
        words += _turned_words(gaussians, background, faces)
    return words


def _scale_words(grown: float) -> str:
    if grown > 1:
        return f"the head is about {grown:.3g} times too large: divide by it before rendering"
    return f"the head is about {1 / grown:.3g} times too small: multiply by it before rendering"


def covered(picture: Float[Tensor, "3 H W"], background: Float[Tensor, "3"]) -> Bool[Tensor, "H W"]:
    """Return where a picture shows something else than its background."""
    away = (picture - background[:, None, None]).abs().amax(0)
    return away > COVERED_MIN


def _extent(gaussians: Gaussians) -> tuple[Tensor, float]:
    """Return the middle of what is not transparent, and the distance that 90 % lie within."""
    solid = gaussians.means[gaussians.opacities > 0.1]
    if len(solid) < 4:
        solid = gaussians.means
    middle = solid.median(0).values
    return middle, float(torch.quantile((solid - middle).norm(dim=-1)[:1_000_000], 0.9))


def _grown(gaussians: Gaussians, alpha: dict[int, Tensor], cameras: Cameras) -> float | None:
    """Return how many times larger the Gaussians are than what the silhouettes show."""
    _, reach = _extent(gaussians)
    radii = [
        math.sqrt(float(mask.mean()) * cameras.width * cameras.height / math.pi)
        / float(cameras.K[i, 0, 0])
        * float(cameras.centers[i].norm())
        for i, mask in alpha.items()
    ]
    wanted = float(torch.tensor(radii).median())
    return reach / wanted if wanted > 0 and reach > 0 else None


def _turned_words(gaussians: Gaussians, background: Tensor, faces: FaceMesh) -> list[str]:
    """Turn the head by all quarter turns, look at each from the front, and name what shows a face.

    The rotation that shows the largest face is the one that the method's frame lacks.
    """
    middle, reach = _extent(gaussians)
    camera = orbit([0.0], [0.0], size_px=SEARCH_PX, vertical_fov_deg=30.0)
    best: tuple[float, Tensor] | None = None
    for rotation in quarter_turns():
        scale = 0.6 / max(reach, 1e-12)
        there = Similarity(scale, rotation, -scale * (rotation @ middle))
        picture = render(there.apply_to_gaussians(gaussians), camera, background).rgb[0]
        face = faces.detect_large(picture.clamp(0, 1))
        # A face that lies on its side is the same face: only an upright one names the rotation.
        if face is not None and abs(face.roll_rad) < math.radians(30):
            found = face.presence * face.extent_px
            if best is None or found > best[0]:
                best = found, rotation
    if best is None:
        return ["from none of the six sides does it show a face"]
    return frame_words(Similarity(1.0, best[1], torch.zeros(3)))


def quarter_turns() -> list[Float[Tensor, "3 3"]]:
    """Return the 24 rotations that map axes to axes, the identity first."""
    turns: list[Tensor] = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3)
            for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign
            if float(torch.linalg.det(matrix)) > 0:
                turns.append(matrix)
    return turns


def _axis(direction: Tensor) -> str:
    which = int(direction.abs().argmax())
    value = float(direction[which])
    about = "" if abs(value) > 0.9 else "about "
    return f"{about}{'+' if value > 0 else '-'}{_AXIS_NAMES[which]}"


def _known(rotation: Tensor) -> str:
    names = [
        name
        for name, frame in WORLD_FRAMES.items()
        if turn_deg(frame.rotation.to(rotation).T @ rotation) < TURN_ODD_DEG / 2
        and name != "any3davatar"
    ]
    return f" (that is the frame of {' and '.join(names)})" if names else ""
