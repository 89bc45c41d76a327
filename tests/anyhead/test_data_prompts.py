from collections import Counter

import pytest
import torch

from any3davatar.anyhead.errors import DataError
from any3davatar.anyhead.grid import join_grid, split_grid
from any3davatar.anyhead.layout import checked_id
from any3davatar.anyhead.lexicon import ACCESSORIES, ATTRIBUTES, ETHNICITY, STYLE
from any3davatar.anyhead.matte import alpha_from_white
from any3davatar.anyhead.prompts import (
    PortraitPrompt,
    accessory_prompt,
    sample_accessories,
    sample_prompt,
)
from any3davatar.anyhead.subsets.ai_generated import spec_of

FIGURE_9 = {
    "ethnicity": (
        "African, Black, Caucasian, White, Asian, Hispanic, Latino, Latina, Middle Eastern, "
        "Indigenous, Pacific Islander, Mixed Race, Multiracial"
    ),
    "hairstyle": (
        "Buzz cut, Induction cut, Burr cut, Crew cut, High and tight, Butch cut, Ivy League cut, "
        "Flat top, High skin fade, Mid drop fade, Low taper fade, Temple fade, Burst fade"
    ),
    "expression": (
        "warm gentle smile, beaming grin, toothless laugh, contagious laughter, "
        "ecstatic expression, joyful and radiant, playful smirk, cheerful demeanor, serene smile, "
        "satisfied look, gleeful expression, charming wink, grieving"
    ),
    "style": (
        "Photorealistic, Hyperrealistic, Cinematic, 8k resolution, Macro Photography, Wide Angle, "
        "Bokeh, Impasto, Candid, Film Grain, Golden Hour, Blue Hour, CGI"
    ),
}


@pytest.mark.parametrize("attribute", sorted(FIGURE_9))
def test_lexicons_hold_what_figure_9_shows(attribute: str) -> None:
    texts = {word.text for word in ATTRIBUTES[attribute]}
    assert set(FIGURE_9[attribute].split(", ")) <= texts


def test_the_prompt_is_the_papers_with_one_word_of_each_lexicon() -> None:
    prompt = sample_prompt(4)
    assert prompt.text.startswith(
        "Front facing close-up portrait, looking directly at camera, full hair visible within the "
        "frame, solid pure white background, high quality, "
    )
    assert list(prompt.words) == [
        "age",
        "ethnicity",
        "hairstyle",
        "expression",
        "lighting",
        "style",
    ]
    assert prompt.text.endswith(", ".join(word.text for word in prompt.words.values()))


def test_prompts_are_drawn_uniformly_and_by_seed() -> None:
    assert sample_prompt(11).text == sample_prompt(11).text
    drawn = Counter(sample_prompt(seed).words["ethnicity"].text for seed in range(1600))
    # 100 of each expected; five standard deviations.
    assert set(drawn) == {word.text for word in ETHNICITY}
    assert max(abs(count - 1600 / len(ETHNICITY)) for count in drawn.values()) < 50


def test_every_word_describes_a_valid_head_and_means_what_it_says() -> None:
    base = sample_prompt(0).words
    for attribute, words in ATTRIBUTES.items():
        for word in words:
            spec_of(PortraitPrompt({**base, attribute: word}), 3)
    styles = {word.text: word for word in STYLE}
    assert spec_of(PortraitPrompt({"style": styles["Clay sculpture"]}), 3).look == "clay"
    assert spec_of(PortraitPrompt({"style": styles["Golden Hour"]}), 3).lighting.name == "sunset"
    ages = {word.text: word for word in ATTRIBUTES["age"]}
    girl = spec_of(PortraitPrompt({"age": ages["10-year-old girl"]}), 3)
    assert (girl.identity.age_years, girl.beard.style, girl.skin.stubble) == (10.0, "none", 0.0)


def test_accessory_prompts_are_the_papers_and_ids_are_folder_names() -> None:
    crown = next(worn for worn in ACCESSORIES if worn.id == "crown-gold")
    assert accessory_prompt(crown) == (
        "Given a 4\u00d74 grid of multi-view human head images. Add a golden crown to the person "
        "consistently across all views. Keep the facial expression, identity, and hairstyle "
        "unchanged. High resolution, ultra-detailed, 4K quality."
    )
    ids = [checked_id(worn.id, "accessory id") for worn in ACCESSORIES]
    assert len(set(ids)) == len(ids)


def test_a_persons_accessories_differ_in_kind_as_long_as_kinds_last() -> None:
    kinds = {worn.accessory.kind for worn in ACCESSORIES}
    for seed in range(50):
        drawn = sample_accessories(seed, len(kinds))
        assert {worn.accessory.kind for worn in drawn} == kinds
    every = sample_accessories(0, len(ACCESSORIES))
    assert sorted(worn.id for worn in every) == sorted(worn.id for worn in ACCESSORIES)
    assert len({sample_accessories(seed, 1)[0].id for seed in range(200)}) == len(ACCESSORIES)


def test_a_grid_is_row_by_row_and_splits_back() -> None:
    pictures = torch.arange(16.0).reshape(16, 1, 1, 1).expand(16, 3, 2, 5)
    grid = join_grid(pictures)
    assert grid.shape == (3, 8, 20)
    assert grid[0, ::2, ::5].tolist() == [[4 * r + c for c in range(4)] for r in range(4)]
    assert torch.equal(split_grid(grid), pictures)
    with pytest.raises(DataError, match="a 4 x 4 grid takes 16 pictures; got 15"):
        join_grid(pictures[:15])
    with pytest.raises(DataError, match="expected multiples of 4 and 4"):
        split_grid(grid[:, :, :18])


def test_white_inside_a_head_stays_covered_and_white_around_it_does_not() -> None:
    picture = torch.ones(3, 20, 20)
    picture[:, 5:15, 5:15] = 0.4
    picture[:, 8:11, 8:11] = 1.0  # teeth
    alpha = alpha_from_white(picture)[0]
    expected = torch.zeros(20, 20)
    expected[5:15, 5:15] = 1
    assert torch.equal(alpha, expected)
