"""Cards and the registry: strict about what is written, plain about what is wrong."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import a3d_baselines
import a3d_bench
from a3d_bench.errors import BenchError
from a3d_bench.methods import (
    adapter_methods,
    all_methods,
    card_of,
    open_method,
    read_card,
    resolve_methods,
)
from a3d_bench.methods.card import PythonRunner, filled
from any3davatar.io import ColorRule

GOOD = {
    "id": "one",
    "title": "One",
    "output": "gaussians",
    "runner": {"kind": "python", "entry": "adapter.py:One"},
}


@pytest.mark.parametrize("path", a3d_baselines.METHODS.values(), ids=list(a3d_baselines.METHODS))
def test_every_card_of_ours_is_valid_and_named_like_its_file(path: Path) -> None:
    assert read_card(path).id == path.stem


def test_every_method_of_the_papers_comparisons_has_a_card() -> None:
    table = Path(a3d_bench.__file__).with_name("paper_tables.csv")
    with table.open(newline="") as file:
        rows = {row["row"] for row in csv.DictReader(file) if row["table"] in "12389"}
    names = {read_card(path).paper_name for path in a3d_baselines.METHODS.values()}
    assert len(rows) > 10
    assert rows <= names


@pytest.mark.parametrize("path", a3d_baselines.METHODS.values(), ids=list(a3d_baselines.METHODS))
def test_a_method_that_cannot_be_run_as_shipped_says_what_to_do(path: Path) -> None:
    card = read_card(path)
    assert card.runner.kind == "python" or card.steps
    assert card.repository is None or (card.commit and card.sources)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "../up"}, "id: "),
        ({"id": "<b>"}, "id: "),
        ({"colour": "sh"}, "colour: "),
        ({"output": "nerf"}, "output: "),
        ({"repository": "javascript:alert(1)"}, "repository: "),
        ({"world": {"frame": "nowhere"}}, "nowhere"),
        ({"world": {"face": "+z", "up": "-z"}}, "different axes"),
        ({"world": {"face": "+z"}}, "both face and up"),
        ({"world": {"frame": "flame", "scale": -1}}, "scale"),
        ({"runner": {"kind": "python", "entry": "os.system('x')"}}, "module:Class"),
        ({"runner": {"kind": "command", "argv": "rm -rf", "result": "x"}}, "argv"),
        ({"runner": {"kind": "command", "argv": ["x", "{nope}"], "result": "y"}}, "nope"),
        ({"runner": {"kind": "command", "argv": ["x"], "result": "../x"}}, "inside"),
        ({"runner": {"kind": "command", "argv": ["x"], "result": "/etc/passwd"}}, "inside"),
        ({"runner": {"kind": "external"}, "sees_truth": True}, "python runner"),
    ],
)
def test_a_card_that_can_not_be_meant_is_refused_by_field(change: dict, told: str) -> None:
    with pytest.raises(BenchError, match="not a method's card") as caught:
        card_of({**GOOD, **change}, "x.toml")
    assert told in str(caught.value)


def test_a_cards_frame_turns_the_face_forward() -> None:
    card = card_of({**GOOD, "world": {"face": "-y", "up": "+z", "scale": 2.0}}, "x")
    moved = card.world.to_canonical().apply(torch.tensor([0.0, -1.0, 0.0]))
    assert moved.tolist() == [0.0, 0.0, 2.0]


def test_the_digest_follows_every_fact() -> None:
    card = card_of(GOOD, "x")
    assert card.digest == card_of(dict(GOOD), "y").digest
    assert card.digest != card_of({**GOOD, "color": "raw-rgb"}, "x").digest
    assert card_of({**GOOD, "color": "raw-rgb"}, "x").color is ColorRule.RAW_RGB


def test_fields_are_filled_and_absent_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A3D_TEST_PLACE", "here; rm -rf /")
    assert filled("{env:A3D_TEST_PLACE}/{out}", {"out": "o"}) == "here; rm -rf //o"
    monkeypatch.delenv("A3D_TEST_PLACE")
    with pytest.raises(BenchError, match="A3D_TEST_PLACE is not set"):
        filled("{env:A3D_TEST_PLACE}", {})


def _adapter(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "adapter.py"
    path.write_text(text)
    return path


def test_an_adapter_file_adds_methods_and_says_where_from(tmp_path: Path) -> None:
    path = _adapter(tmp_path / "a", f"METHODS = {{'one': {GOOD!r}}}")
    methods = all_methods([path])
    assert methods["one"].origin == str(path)
    assert methods["one"].folder == tmp_path / "a"
    assert list(resolve_methods(["one"], [path])) == ["one"]


def test_two_methods_of_one_name_are_refused(tmp_path: Path) -> None:
    first = _adapter(tmp_path / "a", f"METHODS = {{'one': {GOOD!r}}}")
    second = _adapter(tmp_path / "b", f"METHODS = {{'one': {GOOD!r}}}")
    with pytest.raises(
        BenchError, match=r"defined twice: by .*a/adapter\.py and by .*b/adapter\.py"
    ):
        all_methods([first, second])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1", "defines no METHODS"),
        ("METHODS = [1]", "expected a table"),
        ("METHODS = {'one': 3}", "expected a card or its path"),
        ("METHODS = {'one': 'absent.toml'}", "no such file"),
        ("raise ValueError('broken')", "ValueError: broken"),
        (f"METHODS = {{'two': {GOOD!r}}}", "has the card of 'one'"),
    ],
)
def test_an_adapter_that_is_wrong_is_told_how(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BenchError, match=told):
        adapter_methods(_adapter(tmp_path, text))


def test_unknown_and_repeated_names_are_refused(tmp_path: Path) -> None:
    path = _adapter(tmp_path, f"METHODS = {{'one': {GOOD!r}}}")
    with pytest.raises(BenchError, match="no method 'onee'; did you mean one"):
        resolve_methods(["onee"], [path])
    with pytest.raises(BenchError, match="asked for twice"):
        resolve_methods(["one", "one"], [path])


def test_a_folder_of_outputs_is_a_method(tmp_path: Path) -> None:
    path = _adapter(tmp_path / "a", f"METHODS = {{'one': {GOOD!r}}}")
    outputs = tmp_path / "outputs"
    (outputs / "head").mkdir(parents=True)
    (outputs / "head" / "000.png").touch()
    known = resolve_methods([f"one={outputs}"], [path])["one"]
    unknown = resolve_methods([f"mine={outputs}"], [path])["mine"]
    assert (known.card.runner.kind, known.card.output) == ("external", "views")
    assert (unknown.card.title, unknown.card.output) == ("mine", "views")
    with pytest.raises(BenchError, match="no such folder"):
        resolve_methods([f"one={tmp_path / 'absent'}"], [path])


def test_a_variant_is_a_method_with_other_options(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(b"weights")
    text = f"mine=any3davatar,steps=10,checkpoint={weights}"
    chosen = resolve_methods(["any3davatar"], variants=[text])
    plain, mine = chosen["any3davatar"].card, chosen["mine"].card
    assert isinstance(mine.runner, PythonRunner)
    assert isinstance(plain.runner, PythonRunner)
    assert mine.runner.options == {"steps": 10, "checkpoint": str(weights)}
    assert plain.runner.options == {}
    assert mine.title == "mine"
    assert "steps=10" in mine.notes[-1]
    assert mine.digest != plain.digest
    same = {"output", "trained_on", "licence_code", "paper_name"}
    assert mine.model_dump(include=same) == plain.model_dump(include=same)


def test_a_file_that_an_option_names_belongs_to_the_fingerprint(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"

    def fingerprint() -> str:
        method = resolve_methods([], variants=[f"mine=any3davatar,checkpoint={weights}"])["mine"]
        with open_method(method) as opened:
            return opened.fingerprint({})

    weights.write_bytes(b"early")
    early = fingerprint()
    assert fingerprint() == early
    weights.write_bytes(b"later")
    assert fingerprint() != early


def test_the_weights_that_ship_belong_to_the_fingerprint_of_our_method() -> None:
    card = all_methods()["any3davatar"]
    assert isinstance(card.card.runner, PythonRunner)
    assert card.card.runner.files == ("any3davatar:assets/mini.safetensors",)
    absent = card.card.runner.model_copy(update={"files": ("any3davatar:assets/no.safetensors",)})
    damaged = replace(card, card=card.card.model_copy(update={"runner": absent}))
    with open_method(damaged) as one, pytest.raises(BenchError, match="is not installed"):
        one.fingerprint({})
    without = card.card.runner.model_copy(update={"files": ()})
    bare = replace(card, card=card.card.model_copy(update={"runner": without}))
    with open_method(card) as one, open_method(bare) as other:
        assert one.fingerprint({}) != other.fingerprint({})


@pytest.mark.border
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mine", "expected NAME=METHOD,option=value"),
        ("mine=any3davatar", "expected NAME=METHOD,option=value"),
        ("mine=any3davatar,steps", "expected NAME=METHOD,option=value"),
        ("mine=any3davatra,steps=1", "did you mean any3davatar?"),
        ("mine=facelift,steps=1", "which has no options"),
        ("any3davatar=any3davatar,steps=1", "the name any3davatar is taken"),
        ("../mine=any3davatar,steps=1", "id"),
    ],
)
def test_a_variant_that_can_not_be_meant_is_refused(text: str, told: str) -> None:
    with pytest.raises(BenchError, match=re.escape(told)):
        resolve_methods([], variants=[text])
