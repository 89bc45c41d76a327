"""Prompts: the paper's fixed texts, and what is drawn by lot for them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from any3davatar.anyhead.lexicon import ACCESSORIES, ATTRIBUTES, Word, WornThing

# Figure 9 of Any3DAvatar; the attributes follow.
PORTRAIT_TEMPLATE = (
    "Front facing close-up portrait, looking directly at camera, full hair visible within the "
    "frame, solid pure white background, high quality, {attributes}"
)
# Figure 11.
ACCESSORY_TEMPLATE = (
    "Given a 4×4 grid of multi-view human head images. Add {accessory} to the person "  # noqa: RUF001 the paper's sign
    "consistently across all views. Keep the facial expression, identity, and hairstyle "
    "unchanged. High resolution, ultra-detailed, 4K quality."
)


@dataclass(frozen=True)
class PortraitPrompt:
    """What one AI-generated head is to look like.

    Attributes:
        words: one entry of each lexicon, by attribute.
    """

    words: Mapping[str, Word]

    @property
    def text(self) -> str:
        """The prompt."""
        return PORTRAIT_TEMPLATE.format(
            attributes=", ".join(word.text for word in self.words.values())
        )


def sample_prompt(seed: int) -> PortraitPrompt:
    """Draw one entry of each lexicon, uniformly and independently (section 3.2, stage i)."""
    random = np.random.default_rng([seed, 0x70726F6D])  # a stream of its own beside the head's
    return PortraitPrompt(
        {name: words[int(random.integers(len(words)))] for name, words in ATTRIBUTES.items()}
    )


def accessory_prompt(worn: WornThing) -> str:
    """Return the fixed prompt with an accessory's description."""
    return ACCESSORY_TEMPLATE.format(accessory=worn.text)


def sample_accessories(seed: int, count: int) -> list[WornThing]:
    """Draw different accessories for a person, all of different kinds as long as these last."""
    random = np.random.default_rng([seed, 0x61636365])
    shuffled = [ACCESSORIES[int(i)] for i in random.permutation(len(ACCESSORIES))]
    first_of_kind = {worn.accessory.kind: worn for worn in reversed(shuffled)}
    firsts = [worn for worn in shuffled if first_of_kind[worn.accessory.kind] is worn]
    return (firsts + [worn for worn in shuffled if worn not in firsts])[:count]
