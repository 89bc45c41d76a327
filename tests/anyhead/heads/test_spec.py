import dataclasses
import json
from pathlib import Path

import pytest

from any3davatar.anyhead.heads import (
    HeadSpec,
    SpecError,
    accessories,
    clothes,
    expression,
    from_json,
    identity,
    lighting,
    names,
    sample_head,
    to_json,
)
from any3davatar.anyhead.heads.facial_hair import BEARDS
from any3davatar.anyhead.heads.hair.styles import STYLES
from any3davatar.anyhead.heads.looks import LOOKS
from any3davatar.anyhead.heads.palette import HAIR, IRIS
from any3davatar.anyhead.heads.spec import Accessory, Hair, Identity


@pytest.mark.parametrize("seed", range(40))
def test_json_round_trip_keeps_every_field(seed):
    spec = sample_head(seed, accessories=True, expressions=True)
    assert from_json(to_json(spec)) == spec


def test_a_short_hand_written_spec_is_enough():
    text = """{"seed": 5, "hair": {"style": "afro", "length": 1},
               "identity": {"shape": {"nose_width": -0.3}},
               "accessories": [{"kind": "cap", "color": [0.1, 0.2, 0.5]}]}"""
    assert from_json(text) == HeadSpec(
        seed=5,
        identity=Identity(shape=(("nose_width", -0.3),)),
        hair=Hair("afro", length=1.0),
        accessories=(Accessory("cap", (0.1, 0.2, 0.5)),),
    )


def test_the_documented_spec_can_be_read():
    page = (Path(__file__).parents[3] / "docs/heads/README.md").read_text()
    spec = from_json(page.split("```json")[1].split("```")[0])
    assert spec.hair.style == "bob"
    assert spec.accessories[0].kind == "glasses"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hair": {"style": "perm"}}, r"^hair\.style: got 'perm', expected one of bald, buzz"),
        ({"hair": {"lenght": 0.5}}, r"^spec\.hair\.lenght: unknown field; expected one of style"),
        ({"skin": {"tone": 1.5}}, r"^skin\.tone: got 1\.5, expected a number in \[0, 1\]"),
        ({"skin": {"tone": "dark"}}, r"^spec\.skin\.tone: got 'dark', expected float"),
        ({"skin": {"tone": True}}, r"^spec\.skin\.tone: got True, expected float"),
        ({"skin": {"tone": float("nan")}}, r"^skin\.tone: got nan"),
        ({"seed": -1}, r"^seed: got -1, expected an integer"),
        ({"seed": 1.5}, r"^spec\.seed: got 1\.5, expected int"),
        ({"identity": {"shape": {"nose": 1}}}, r"^identity\.shape\.nose: unknown name"),
        ({"identity": {"shape": [1]}}, r"^spec\.identity\.shape: got \[1\], expected an object"),
        ({"identity": {"age_years": 5}}, r"^identity\.age_years: got 5\.0, .* \[10, 85\]"),
        ({"identity": {"european": 0}}, r"^identity\.african/asian/european: all are 0"),
        ({"expression": {"units": {"jawOpen": -0.1}}}, r"^expression\.units\.jawOpen: got -0\.1"),
        ({"clothes": {"color": [1, 0]}}, r"^spec\.clothes\.color: got 2 items, expected 3"),
        ({"clothes": {"color": [1, 0, 2]}}, r"^clothes\.color\.b: got 2\.0"),
        ({"accessories": [{"shape": 0.5}]}, r"^spec\.accessories\[0\]\.kind: missing"),
        ({"accessories": {"kind": "cap"}}, r"^spec\.accessories: .* expected a list"),
        ({"accessories": [{"kind": "cap"}] * 2}, r"^accessories: 'cap' is worn twice"),
        ({"accessories": [{"kind": "cap"}, {"kind": "hat"}]}, r"cap and hat cannot be worn"),
        ({"look": "oil"}, r"^look: got 'oil', expected one of natural, clay"),
        ([], r"^spec: got \[\], expected an object"),
    ],
)
def test_a_bad_spec_is_refused_by_the_name_of_its_field(change, message):
    with pytest.raises(SpecError, match=message):
        from_json(json.dumps(change))


def test_text_that_is_not_json_is_refused():
    with pytest.raises(SpecError, match="not valid JSON"):
        from_json("{")


def test_a_weight_given_twice_is_refused():
    with pytest.raises(SpecError, match=r"identity\.shape\.nose_width: given twice"):
        Identity(shape=(("nose_width", 0.1), ("nose_width", 0.2)))


def test_sampling_is_a_function_of_the_seed():
    assert sample_head(11, accessories=True) == sample_head(11, accessories=True)
    assert len({to_json(sample_head(seed)) for seed in range(50)}) == 50


@pytest.mark.parametrize("seed", [724, 1000622, 1000801, 1000868, 2000115])
def test_a_person_of_one_ancestry_alone_is_a_valid_spec(seed):
    # These seeds draw a share of ancestry that rounds to 1.
    identity = sample_head(seed).identity
    assert max(identity.african, identity.asian, identity.european) == 1


def test_asking_for_accessories_does_not_change_who_it_is():
    plain, dressed = sample_head(5), sample_head(5, accessories=True, expressions=True)
    assert dressed.accessories
    same = dataclasses.replace(dressed, accessories=(), expression=plain.expression)
    assert same == plain


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (names.SHAPE_CONTROLS, identity.CONTROLS),
        (names.EXPRESSIONS, expression.EXPRESSIONS),
        (names.EYE_COLORS, IRIS),
        (names.HAIR_COLORS, HAIR),
        (names.HAIR_STYLES, {"bald", *STYLES}),
        (names.BEARD_STYLES, {"none", *BEARDS}),
        (names.CLOTHES_STYLES, clothes.COLLARS),
        (names.ACCESSORIES, accessories.BUILDERS),
        (names.LIGHTINGS, lighting.RIGS),
        (names.LOOKS, LOOKS),
    ],
)
def test_every_word_has_a_meaning_and_every_meaning_a_word(words, table):
    assert sorted(words) == sorted(table)


def test_every_expression_uses_known_units():
    used = {unit for units in expression.EXPRESSIONS.values() for unit in units}
    assert used <= set(names.FACE_UNITS)
    assert len(names.FACE_UNITS) == 52
