"""Things worn on the head: ``build_accessories`` models them on the spec's own head.

Headwear is fitted to the neutral skull and tells the hair where to make room; everything else
hangs on ears, nose and neck. The head under an accessory is the same head.
"""

from collections.abc import Callable
from dataclasses import dataclass

from any3davatar.anyhead.heads.accessories import eyewear, headphones, headwear, jewellery, wraps
from any3davatar.anyhead.heads.accessories.tuck import Tuck
from any3davatar.anyhead.heads.anatomy import Anatomy
from any3davatar.anyhead.heads.meshes import Mesh
from any3davatar.anyhead.heads.spec import Accessory, HeadSpec

_Builder = Callable[[Accessory, Anatomy], tuple[list[Mesh], Tuck | None]]

BUILDERS: dict[str, _Builder] = {
    "glasses": eyewear.glasses,
    "sunglasses": eyewear.sunglasses,
    "hat": headwear.hat,
    "cap": headwear.cap,
    "beanie": headwear.beanie,
    "crown": headwear.crown,
    "headband": headwear.headband,
    "headphones": headphones.headphones,
    "earrings": jewellery.earrings,
    "scarf": wraps.scarf,
    "mask": wraps.mask,
}


@dataclass(frozen=True)
class Worn:
    """All accessories of a head: meshes in the head frame, and how hair gives way."""

    meshes: tuple[Mesh, ...]
    tucks: tuple[Tuck, ...]


def build_accessories(spec: HeadSpec, anatomy: Anatomy) -> Worn:
    """Build every accessory of the spec."""
    meshes: list[Mesh] = []
    tucks: list[Tuck] = []
    for accessory in spec.accessories:
        parts, tuck = BUILDERS[accessory.kind](accessory, anatomy)
        meshes += parts
        if tuck is not None:
            tucks.append(tuck)
    return Worn(tuple(meshes), tuple(tucks))
