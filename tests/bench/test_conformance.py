"""The conformance kit: passes what keeps the contract, and names each way of breaking it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from a3d_bench.commands.methods_cli import app
from a3d_bench.methods import Limits, RegisteredMethod, resolve_methods
from a3d_bench.methods.conformance import Check, check_method, failed
from a3d_bench.methods.scaffold import write_scaffold
from tests.bench.method_examples import own_cache, write_adapter


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_cache(tmp_path_factory.mktemp("cache")):
        yield


def scaffold(folder: Path, runner: str) -> RegisteredMethod:
    write_scaffold("my-method", folder, runner)
    return resolve_methods(["my-method"], [folder / "adapter.py"])["my-method"]


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_the_scaffold_passes_its_own_test(tmp_path: Path) -> None:
    checks = check_method(scaffold(tmp_path / "new", "python"), limits=Limits(seconds=60))
    assert failed(checks) == []
    verdicts = {check.name: check.verdict for check in checks}
    for name in ("runs", "shapes", "frame", "left/right", "handedness", "determinism", "timing"):
        assert verdicts[name] == "passed", name


def test_the_scaffold_of_a_command_passes_its_own_test(tmp_path: Path) -> None:
    checks = check_method(scaffold(tmp_path / "new", "command"), limits=Limits(seconds=60))
    assert failed(checks) == []
    assert by_name(checks)["left/right"].verdict == "passed"


WRONG = """
import os, time
from pathlib import Path
import torch
from dataclasses import replace
from a3d_bench.methods.avatars import GaussianAvatar
from a3d_bench.types import Portrait
from any3davatar.core import Similarity

METHODS = {{"wrong": {{
    "id": "wrong", "title": "Wrong", "output": "gaussians", "seed": "given",
    "runner": {{"kind": "python", "entry": "adapter.py:Wrong"}},
}}}}
exec(Path({example!r}).read_text().split("class Example")[0].split("METHODS")[0])
exec("class Example" + Path({example!r}).read_text().split("class Example")[1])


class Wrong(Example):
    def reconstruct(self, portrait, *, seed):
        {body}
"""
BROKEN = {
    "left/right": (
        "portrait = replace(portrait, rgb=portrait.rgb.flip(-1), alpha=portrait.alpha.flip(-1))\n"
        "        return super().reconstruct(portrait, seed=seed)"
    ),
    "frame": (
        "head = super().reconstruct(portrait, seed=seed).gaussians\n"
        "        turn = torch.tensor([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]])\n"
        "        turned = Similarity(1.0, turn, torch.zeros(3)).apply_to_gaussians(head)\n"
        "        return GaussianAvatar(turned)"
    ),
    "handedness": (
        "head = super().reconstruct(portrait, seed=seed).gaussians\n"
        "        return GaussianAvatar(replace(head, means=head.means * torch.tensor([-1., 1, 1])))"
    ),
    "determinism": "return super().reconstruct(portrait, seed=time.time_ns() % 2**31)",
    "no writes outside": (
        "Path(__file__).with_name('litter.txt').write_text(portrait.id + str(time.time()))\n"
        "        return super().reconstruct(portrait, seed=seed)"
    ),
    "timing": (
        "head = super().reconstruct(portrait, seed=seed)\n"
        "        class Lazy:\n"
        "            woken = False\n"
        "            def render(self, cameras, background):\n"
        "                if not self.woken:\n"
        "                    time.sleep(0.7)\n"
        "                self.woken = True\n"
        "                return head.render(cameras, background)\n"
        "        return Lazy()"
    ),
    "shapes": (
        "head = super().reconstruct(portrait, seed=seed)\n"
        "        class Blank:\n"
        "            def render(self, cameras, background):\n"
        "                views = head.render(cameras, background)\n"
        "                return replace(views, rgb=torch.ones_like(views.rgb))\n"
        "        return Blank()"
    ),
}


# Each starts a process that imports torch: the quick suite takes the ways that scores can't show.
QUICK = ("left/right", "handedness", "timing")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in BROKEN],
)
def test_each_way_of_breaking_the_contract_is_named(tmp_path: Path, name: str) -> None:
    write_scaffold("my-method", tmp_path / "example", "python")
    example = str(tmp_path / "example" / "adapter.py")
    text = WRONG.format(example=example, body=BROKEN[name])
    method = write_adapter(tmp_path / "wrong", text)
    checks = by_name(check_method(method, limits=Limits(seconds=60)))
    assert checks["runs"].verdict == "passed", checks["runs"].seen
    assert checks[name].verdict == "failed", checks[name].seen


def test_a_method_that_fails_is_told_and_not_judged(tmp_path: Path) -> None:
    method = write_adapter(tmp_path)  # raises on no name that the probe has, so give it a limit
    checks = check_method(method, limits=Limits(seconds=60, memory_bytes=1 << 20))
    assert failed(checks)[0].name == "runs"


def test_the_command_line_lists_shows_makes_and_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    made = call(app, ["new", "my-method"])
    assert made.exit_code == 0, made.output
    adapter = ["--adapter", "my-method/adapter.py"]
    listed = call(app, ["list", "--json", *adapter])
    rows = {row["id"]: row for row in json.loads(listed.output)}
    assert rows["my-method"]["origin"] == "my-method/adapter.py"
    shown = call(app, ["show", "my-method", *adapter])
    assert "adapter.py:Example" in shown.output
    again = call(app, ["new", "my-method"])
    assert again.exit_code == 2
    assert "not empty" in again.output
    assert call(app, ["new", "Not/an id"]).exit_code == 2
    assert call(app, ["test", "absent", *adapter]).exit_code == 2
    tested = call(app, ["test", "my-method", "--json", *adapter])
    assert tested.exit_code == 0, tested.output
    assert {one["verdict"] for one in json.loads(tested.output)["checks"]} <= {
        "passed", "undetermined",
    }  # fmt: skip
