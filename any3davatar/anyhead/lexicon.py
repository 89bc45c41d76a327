"""The words that heads are described with, and what each does to the digital human.

Lists of the paper's figure 9 (ethnicity, hairstyle, expression, style) are kept; where the figure
ends in an ellipsis, and for age and lighting, which it names without listing, the entries are ours.
Any text-to-image model reads the words. The embedded back end reads the *effect*: a partial
`HeadSpec`, as nested dictionaries, which is why several words can have the same one: the digital
human knows fewer hairstyles than a barber.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from any3davatar.anyhead.heads.spec import Accessory, Rgb


@dataclass(frozen=True)
class Word:
    """One entry of a lexicon.

    Attributes:
        text: what the prompt says.
        effect: members of a `HeadSpec` that it sets, by part.
    """

    text: str
    effect: Mapping[str, Any] = field(default_factory=dict)


def _identity(text: str, masculine: float, age_years: float) -> Word:
    return Word(text, {"identity": {"masculine": masculine, "age_years": age_years}})


def _ancestry(
    text: str, african: float, asian: float, european: float, tone: float, *hair_colors: str
) -> Word:
    return Word(
        text,
        {
            "identity": {"african": african, "asian": asian, "european": european},
            "skin": {"tone": tone},
            "hair": {"color": hair_colors},
        },
    )


def _hair(style: str, length: float, *texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, {"hair": {"style": style, "length": length}}) for text in texts)


def _expression(name: str, strength: float, *texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, {"expression": {"name": name, "strength": strength}}) for text in texts)


def _look(look: str, *texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, {"look": look}) for text in texts)


def _light(name: str, *texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, {"lighting": {"name": name}}) for text in texts)


AGE = (
    _identity("10-year-old boy", 0.85, 10.0),
    _identity("10-year-old girl", 0.15, 10.0),
    _identity("teenage boy", 0.9, 16.0),
    _identity("teenage girl", 0.1, 16.0),
    _identity("young man in his twenties", 0.95, 25.0),
    _identity("young woman in her twenties", 0.05, 25.0),
    _identity("man in his thirties", 0.95, 35.0),
    _identity("woman in her thirties", 0.05, 35.0),
    _identity("middle-aged man", 0.95, 48.0),
    _identity("middle-aged woman", 0.05, 48.0),
    _identity("man in his sixties", 0.95, 64.0),
    _identity("woman in her sixties", 0.05, 64.0),
    _identity("elderly man", 0.9, 78.0),
    _identity("elderly woman", 0.1, 78.0),
)

_DARK = ("black", "dark_brown")
_ANY = ("black", "dark_brown", "brown", "light_brown", "dark_blond", "blond", "auburn", "red")
ETHNICITY = (
    _ancestry("African", 1.0, 0.0, 0.0, 0.85, "black"),
    _ancestry("Black", 0.9, 0.0, 0.1, 0.75, "black"),
    _ancestry("Caucasian", 0.0, 0.0, 1.0, 0.2, *_ANY),
    _ancestry("White", 0.0, 0.0, 1.0, 0.12, *_ANY),
    _ancestry("Asian", 0.0, 1.0, 0.0, 0.3, *_DARK),
    _ancestry("Hispanic", 0.1, 0.3, 0.6, 0.42, *_DARK, "brown"),
    _ancestry("Latino", 0.15, 0.25, 0.6, 0.45, *_DARK, "brown"),
    _ancestry("Latina", 0.15, 0.25, 0.6, 0.4, *_DARK, "brown"),
    _ancestry("Middle Eastern", 0.15, 0.15, 0.7, 0.42, *_DARK),
    _ancestry("Indigenous", 0.1, 0.7, 0.2, 0.52, "black"),
    _ancestry("Pacific Islander", 0.3, 0.6, 0.1, 0.58, "black"),
    _ancestry("Mixed Race", 0.4, 0.2, 0.4, 0.5, *_DARK, "brown"),
    _ancestry("Multiracial", 0.35, 0.35, 0.3, 0.45, *_DARK, "brown"),
    _ancestry("South Asian", 0.2, 0.3, 0.5, 0.6, "black"),
    _ancestry("East Asian", 0.0, 1.0, 0.0, 0.24, "black"),
    _ancestry("Northern European", 0.0, 0.0, 1.0, 0.06, "blond", "platinum", "light_brown", "red"),
)

HAIRSTYLE = (
    *_hair("buzz", 0.5, "Buzz cut", "Burr cut", "Butch cut"),
    *_hair("buzz", 0.2, "Induction cut"),
    *_hair("short", 0.35, "Crew cut", "High and tight", "High skin fade", "Burst fade"),
    *_hair("short", 0.5, "Mid drop fade", "Low taper fade", "Temple fade"),
    *_hair("side_part", 0.5, "Ivy League cut", "Side part"),
    *_hair("quiff", 0.4, "Flat top"),
    *_hair("quiff", 0.6, "Quiff", "Pompadour"),
    *_hair("slick", 0.5, "Slicked back hair"),
    *_hair("fringe", 0.5, "Textured fringe"),
    *_hair("pixie", 0.5, "Pixie cut"),
    *_hair("bob", 0.5, "Bob cut", "Chin-length bob"),
    *_hair("bangs", 0.5, "Long hair with bangs"),
    *_hair("long", 0.6, "Long straight hair"),
    *_hair("wavy", 0.5, "Long wavy hair", "Beach waves"),
    *_hair("curly", 0.5, "Long curly hair"),
    *_hair("short_curly", 0.5, "Short curly hair"),
    *_hair("afro", 0.5, "Afro"),
    *_hair("bun", 0.5, "High bun", "Ballerina bun"),
    *_hair("ponytail", 0.5, "Ponytail"),
    *_hair("braids", 0.5, "Braids", "Cornrows"),
    *_hair("dreads", 0.5, "Dreadlocks"),
    *_hair("mohawk", 0.5, "Mohawk"),
    *_hair("bald", 0.5, "Bald head"),
)

EXPRESSION = (
    *_expression("smile", 0.6, "warm gentle smile", "serene smile"),
    *_expression("grin", 1.0, "beaming grin"),
    *_expression("smile", 1.0, "toothless laugh", "cheerful demeanor", "satisfied look"),
    *_expression("laugh", 1.0, "contagious laughter", "ecstatic expression"),
    *_expression("grin", 0.7, "joyful and radiant", "gleeful expression"),
    *_expression("smirk", 1.0, "playful smirk"),
    *_expression("wink", 1.0, "charming wink"),
    *_expression("sad", 1.0, "grieving"),
    *_expression("sad", 0.6, "melancholic look"),
    *_expression("neutral", 1.0, "neutral expression", "calm face"),
    *_expression("surprise", 1.0, "surprised look"),
    *_expression("anger", 1.0, "angry scowl"),
    *_expression("frown", 1.0, "worried frown"),
    *_expression("disgust", 1.0, "disgusted grimace"),
    *_expression("fear", 1.0, "frightened expression"),
    *_expression("pucker", 1.0, "pursed lips"),
    *_expression("puff", 1.0, "puffed cheeks"),
    *_expression("open", 0.8, "mouth wide open"),
    *_expression("talk", 1.0, "speaking"),
    *_expression("squint", 1.0, "squinting eyes"),
)

LIGHTING = (
    *_light("studio", "studio lighting", "three-point lighting"),
    *_light("soft", "soft diffused light", "beauty dish lighting"),
    *_light("rembrandt", "Rembrandt lighting"),
    *_light("rim", "rim light"),
    *_light("overcast", "overcast daylight"),
    *_light("noon", "harsh midday sun"),
    *_light("night", "dim night lighting"),
    *_light("window", "window light from the side"),
)

STYLE = (
    *_look(
        "natural", "Photorealistic", "Hyperrealistic", "Cinematic", "8k resolution",
        "Macro Photography", "Wide Angle", "Bokeh", "Candid", "Film Grain",
    ),
    Word("Golden Hour", {"look": "natural", "lighting": {"name": "sunset"}}),
    Word("Blue Hour", {"look": "natural", "lighting": {"name": "night"}}),
    *_look("cartoon", "Impasto", "CGI", "3D cartoon character"),
    *_look("clay", "Clay sculpture"),
    *_look("bronze", "Bronze statue"),
)  # fmt: skip

# In the order in which the prompt names them.
ATTRIBUTES: Mapping[str, tuple[Word, ...]] = {
    "age": AGE,
    "ethnicity": ETHNICITY,
    "hairstyle": HAIRSTYLE,
    "expression": EXPRESSION,
    "lighting": LIGHTING,
    "style": STYLE,
}


@dataclass(frozen=True)
class WornThing:
    """An accessory with its description.

    Attributes:
        id: name of the group's folder.
        text: what the prompt asks for, with its article.
        accessory: the same for the digital human.
    """

    id: str
    text: str
    accessory: Accessory


_BLACK: Rgb = (0.03, 0.03, 0.035)
_GOLD: Rgb = (0.83, 0.61, 0.22)
_SILVER: Rgb = (0.75, 0.76, 0.78)
_NAVY: Rgb = (0.07, 0.11, 0.25)
_RED: Rgb = (0.65, 0.08, 0.09)
_BROWN: Rgb = (0.30, 0.19, 0.11)
_GREY: Rgb = (0.42, 0.43, 0.45)
_WHITE: Rgb = (0.88, 0.88, 0.86)
_MUSTARD: Rgb = (0.72, 0.52, 0.12)
_TEAL: Rgb = (0.05, 0.38, 0.40)

ACCESSORIES = (
    WornThing("glasses-black", "black-framed glasses", Accessory("glasses", _BLACK)),
    WornThing("glasses-gold", "gold-rimmed glasses", Accessory("glasses", _GOLD, shape=0.8)),
    WornThing(
        "glasses-brown", "brown horn-rimmed glasses", Accessory("glasses", _BROWN, shape=0.2)
    ),
    WornThing("sunglasses-black", "black sunglasses", Accessory("sunglasses", _BLACK)),
    WornThing("sunglasses-red", "sunglasses with a red frame", Accessory("sunglasses", _RED)),
    WornThing("hat-brown", "a brown felt hat", Accessory("hat", _BROWN, _BLACK)),
    WornThing("hat-straw", "a light straw hat", Accessory("hat", (0.80, 0.69, 0.45), _RED)),
    WornThing("cap-red", "a red baseball cap", Accessory("cap", _RED, _WHITE)),
    WornThing("cap-navy", "a navy blue baseball cap", Accessory("cap", _NAVY, _WHITE)),
    WornThing("beanie-grey", "a grey knitted beanie", Accessory("beanie", _GREY, _BLACK)),
    WornThing("beanie-mustard", "a mustard yellow beanie", Accessory("beanie", _MUSTARD, _BROWN)),
    WornThing("crown-gold", "a golden crown", Accessory("crown", _GOLD, _RED)),
    WornThing("crown-silver", "a silver crown", Accessory("crown", _SILVER, _NAVY)),
    WornThing("headphones-black", "black headphones", Accessory("headphones", _BLACK, _GREY)),
    WornThing("headphones-white", "white headphones", Accessory("headphones", _WHITE, _GREY)),
    WornThing("earrings-gold", "golden earrings", Accessory("earrings", _GOLD, _GOLD)),
    WornThing(
        "earring-left-silver",
        "a single silver earring in the left ear",
        Accessory("earrings", _SILVER, _SILVER, side="left"),
    ),
    WornThing("scarf-teal", "a teal scarf", Accessory("scarf", _TEAL, _WHITE)),
    WornThing("scarf-red", "a red scarf", Accessory("scarf", _RED, _WHITE)),
    WornThing("mask-white", "a white face mask", Accessory("mask", _WHITE, _WHITE)),
    WornThing("headband-teal", "a teal headband", Accessory("headband", _TEAL, _WHITE)),
)
