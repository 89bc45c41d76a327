"""Heads shared by the tests: building one takes seconds, so it happens once."""

import pytest

from any3davatar.anyhead.heads import (
    AssetsUnavailable,
    HeadModel,
    HeadSpec,
    Template,
    build_head,
    load_template,
)
from any3davatar.anyhead.heads.spec import Accessory, Hair, Identity
from tests.at_hand import missing


@pytest.fixture(scope="session")
def template() -> Template:
    try:
        return load_template()
    except AssetsUnavailable as error:
        missing("the head assets", error)


@pytest.fixture(scope="session")
def one_earring(template: Template) -> HeadModel:
    spec = HeadSpec(
        3,
        Identity(0.2, 30),
        hair=Hair("buzz"),
        accessories=(Accessory("earrings", side="left", shape=0.9),),
    )
    return build_head(spec, template)


@pytest.fixture(scope="session")
def big_hair(template: Template) -> HeadModel:
    """The widest head there is: a full afro at full volume and length, and a broad hat."""
    spec = HeadSpec(
        4,
        hair=Hair("afro", length=1.0, volume=1.0),
        accessories=(Accessory("hat", shape=1.0),),
    )
    return build_head(spec, template)
