"""Methods: what is known about them, where they come from, and how they are run.

* `MethodCard`: facts, from a TOML file (`read_card`).
* `all_methods`, `resolve_methods`: by entry point, adapter file, or folder of outputs.
* `open_method`: a method that is being run, by a python, command or external runner.
* `stage`: for methods that time their preprocessing apart.
"""

from a3d_bench.methods.card import MethodCard, WorldFrame, card_of, read_card
from a3d_bench.methods.processes import Limits
from a3d_bench.methods.registry import (
    RegisteredMethod,
    adapter_methods,
    all_methods,
    external_method,
    resolve_methods,
)
from a3d_bench.methods.runners import MethodRun, Outcome, open_method
from a3d_bench.methods.stages import stage

__all__ = [
    "Limits",
    "MethodCard",
    "MethodRun",
    "Outcome",
    "RegisteredMethod",
    "WorldFrame",
    "adapter_methods",
    "all_methods",
    "card_of",
    "external_method",
    "open_method",
    "read_card",
    "resolve_methods",
    "stage",
]
