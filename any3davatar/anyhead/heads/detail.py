"""How finely a head is built."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Detail:
    """What decides the seconds that a head takes, and the finest that it shows.

    Attributes:
        hairs: share of the hairs of scalp and beard that grow, each as much wider.
        light_directions: shadow maps from all around.
        field_step_dm: grid of the distance to the skin, which keeps hair outside.
    """

    hairs: float = 1.0
    light_directions: int = 72
    field_step_dm: float = 0.10


FULL = Detail()
DRAFT = Detail(hairs=0.4, light_directions=36, field_step_dm=0.16)
