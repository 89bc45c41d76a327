"""Hairstyles as numbers. Lengths in decimetres, shares in [0, 1]."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Style:
    """How one style grows.

    Attributes:
        strands, points: number of hairs and of points along each.
        length: from root to tip on top of the head.
        side_length: on the sides and the back; None means as on top.
        comb: where the root is combed to: away from the parting, back, away from the crown's
            whorl, or straight off the skin.
        lift: how far the root stands off the skin before the comb takes over.
        comb_reach: distance along the hair after which gravity has taken over from the comb.
        gravity: pull downward.
        sweep_back: backward share of the comb on top.
        layer: thickness of the coat of hair over the skin.
        clumps, clump: number of locks and how tightly hairs follow them toward the tip.
        lock: radius of a solid lock (dreadlocks); 0 lets clumps be.
        curl, turns: radius of the helix and its turns along the hair.
        frizz: amplitude of stray waves.
        ragged: relative spread of lengths.
        cut: where the hair is cut blunt: not at all, above the brows, a bowl around the head,
            above the brows with long sides, at the chin.
        face_free: whether locks are kept off the face.
        hug: how far hair may stand off the skull, as a multiple of ``layer``; 0 for no limit.
        radius: of one hair.
        crest: half width of the only long stripe (a mohawk); 0 for none.
    """

    strands: int = 16000
    points: int = 14
    length: float = 0.6
    side_length: float | None = None
    comb: Literal["part", "back", "whorl", "none"] = "part"
    lift: float = 0.6
    comb_reach: float = 0.5
    gravity: float = 0.6
    sweep_back: float = 0.25
    layer: float = 0.06
    clumps: int = 420
    clump: float = 0.45
    lock: float = 0.0
    curl: float = 0.0
    turns: float = 0.0
    frizz: float = 0.012
    ragged: float = 0.15
    cut: Literal["none", "brows", "bowl", "bangs", "chin"] = "none"
    face_free: bool = False
    hug: float = 0.0
    radius: float = 0.0050
    crest: float = 0.0


@dataclass(frozen=True)
class Gathered:
    """Hair drawn over the skull to one or two ties.

    Attributes:
        strands, points: as in ``Style``.
        tail: what happens behind the tie.
        azimuth_deg, elevation_deg: direction of the tie from the skull's centre; 180 is the back,
            a pair of ties is mirrored.
        layer: thickness over the skull.
        radius: of one hair.
    """

    tail: Literal["bun", "ponytail", "braid"]
    azimuth_deg: float = 180.0
    elevation_deg: float = 25.0
    strands: int = 17000
    points: int = 28
    layer: float = 0.05
    radius: float = 0.0050


STYLES: dict[str, Style | Gathered] = {
    "buzz": Style(strands=26000, points=4, length=0.10, comb="whorl", lift=1.6, layer=0.0, clump=0,
                  frizz=0.012, radius=0.0042, comb_reach=0.2),
    "short": Style(length=0.50, side_length=0.22, comb="whorl", lift=0.8, layer=0.05, points=10,
                   clumps=600, frizz=0.03, ragged=0.3, hug=3.0),
    "side_part": Style(length=0.85, side_length=0.30, lift=0.75, layer=0.09, comb_reach=0.8,
                       gravity=0.9, sweep_back=0.55, clump=0.45, hug=2.2),
    "quiff": Style(length=0.85, side_length=0.20, comb="back", lift=1.15, layer=0.05,
                   gravity=0.12, comb_reach=1.2, clump=0.5, frizz=0.02, hug=7.0),
    "slick": Style(length=1.15, side_length=0.95, comb="back", lift=0.12, layer=0.035,
                   comb_reach=1.6, gravity=0.8, clump=0.35, clumps=300, frizz=0.005, hug=1.8),
    "fringe": Style(length=1.10, side_length=0.60, comb="whorl", lift=0.45, layer=0.09,
                    comb_reach=0.6, gravity=1.0, cut="bowl", clumps=320, clump=0.55, hug=1.8),
    "pixie": Style(length=0.85, side_length=0.42, lift=0.5, layer=0.07, comb_reach=0.5,
                   gravity=0.9, sweep_back=0.1, ragged=0.3, clump=0.55, cut="brows", hug=2.0),
    "bob": Style(length=2.1, points=20, lift=0.45, layer=0.11, gravity=1.0, cut="chin",
                 face_free=True, clump=0.25, ragged=0.05, frizz=0.008),
    "bangs": Style(length=2.1, points=20, comb="whorl", lift=0.4, layer=0.11, gravity=1.0,
                   cut="bangs", clump=0.3, ragged=0.05, frizz=0.008),
    "long": Style(length=3.4, points=26, lift=0.4, layer=0.11, gravity=1.0, face_free=True,
                  clump=0.45, ragged=0.08),
    "wavy": Style(length=3.0, points=36, lift=0.5, layer=0.15, gravity=1.0, face_free=True,
                  curl=0.055, turns=3.2, clump=0.62, clumps=360, frizz=0.018),
    "curly": Style(strands=12500, length=2.3, points=46, lift=0.8, layer=0.22, gravity=0.9,
                   face_free=True, curl=0.060, turns=7.0, clump=0.72, clumps=620, frizz=0.022,
                   radius=0.0056),
    "short_curly": Style(strands=15000, length=0.75, side_length=0.42, points=30, comb="whorl",
                         lift=1.6, layer=0.10, gravity=0.25, curl=0.045, turns=4.0, clump=0.65,
                         clumps=900, frizz=0.02),
    "afro": Style(strands=20000, length=0.85, side_length=0.72, points=26, comb="none", lift=3.0,
                  layer=0.0, gravity=0.0, curl=0.042, turns=4.0, clump=0.35, clumps=1500,
                  frizz=0.035, radius=0.0058),
    "dreads": Style(strands=12000, length=2.2, points=30, lift=0.9, layer=0.16, gravity=1.0,
                    face_free=True, clumps=130, clump=1.0, lock=0.046, frizz=0.02, ragged=0.2,
                    radius=0.0060),
    "mohawk": Style(strands=15000, length=0.75, side_length=0.05, comb="none", lift=3.0, layer=0.0,
                    gravity=-0.1, points=10, crest=0.20, clumps=160, clump=0.7),
    "bun": Gathered("bun", elevation_deg=32),
    "ponytail": Gathered("ponytail", elevation_deg=18, points=34),
    "braids": Gathered("braid", azimuth_deg=118, elevation_deg=-42, points=44, strands=15000),
}  # fmt: skip
