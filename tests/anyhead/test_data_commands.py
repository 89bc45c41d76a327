"""``any3davatar data`` as a person types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from any3davatar.anyhead import layout, people
from any3davatar.anyhead.build import build
from any3davatar.anyhead.heads.assets import AssetsUnavailable
from any3davatar.anyhead.readers import AnyHead
from any3davatar.commands.data_cli import app
from any3davatar.io import read_png
from tests.anyhead.spheres import SphereHeads
from tests.at_hand import missing


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    build(tmp_path / "set", SphereHeads(), range(2))
    return tmp_path / "set"


@pytest.mark.slow
def test_build_then_build_again_finds_everything_there(tmp_path: Path) -> None:
    try:
        people.prepare()
    except AssetsUnavailable as error:
        missing("the head assets", error)
    words = ["build", "digital-human", "--out", tmp_path / "set", "--heads", 1, "--size", 32]
    words += ["--rig", "canonical4", "--groups", 1]
    first = run(*words)
    assert first.exit_code == 0, first.output
    assert [head.head_id for head in AnyHead(tmp_path / "set").heads] == ["dh-1000000"]
    again = run(*words)
    assert again.exit_code == 0
    assert "0 built, 1 were there" in again.output
    refused = run(*words, "--no-resume")
    assert refused.exit_code == 2
    assert "leave out --no-resume" in refused.output


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["build", "anyhead-maxi"], "known: anyhead-mini, anyhead-train, digital-human"),
        (["build", "anyhead-mini", "--rig", "canonical4"], "is a fixed recipe; leave out --rig"),
        (["build", "digital-human", "--rig", "dome"], "got the rig 'dome'"),
        (["build", "digital-human", "--heads", "0"], "--heads at least 1"),
        (["build", "digital-human", "--ai-heads", "1"], "belong to anyhead-train"),
        (["build", "accessory-rich", "--worn", "0.3"], "--worn belongs to digital-human"),
        (["build", "anyhead-train", "--worn", "0.3"], "is a fixed recipe; leave out --worn"),
        (["build", "accessory-rich", "--draft"], "--draft belongs to digital-human"),
        (["build", "anyhead-mini", "--draft"], "is a fixed recipe; leave out --draft"),
        (["build", "digital-human", "--worn", "3"], "worn_share: got 3.0, expected 0 to 1"),
        (["build", "anyhead-train", "--heads", "1", "--accessory-heads", "2"], "got 2 of 1"),
        (["build", "digital-human", "--size", "4"], "expected 16 to 4096 pixels"),
    ],
)
def test_requests_that_cannot_be_met_end_with_2(
    tmp_path: Path, words: list[str], text: str
) -> None:
    result = run(*words, "--out", tmp_path)
    assert result.exit_code == 2
    assert text in result.output


def test_verify_names_every_problem_and_ends_with_1(root: Path) -> None:
    assert run("verify", root).exit_code == 0
    (root / layout.DIGITAL_HUMAN / "dh-0000001" / "hat" / "000.png").unlink()
    result = run("verify", root)
    assert result.exit_code == 1
    assert "dh-0000001/hat/000.png: is missing" in result.output
    assert run("verify", root / "nowhere").exit_code == 2


def test_stats_print_the_row_of_table_6(root: Path) -> None:
    result = run("stats", root)
    assert result.exit_code == 0
    assert "ID Number      2" in result.output
    assert "Accessory      ✓" in result.output
    counts = json.loads(run("stats", root, "--json").output)
    assert counts["identities"] == 2
    assert counts["table_6"]["Camera View"] == "6"
    assert len(counts["sha256"][layout.DIGITAL_HUMAN]) == 64


def test_preview_and_review_write_sheets(root: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    result = run("preview", root, sheet, "--rows", 2, "--columns", 3, "--cell", 24)
    assert result.exit_code == 0, result.output
    assert read_png(sheet)[0].shape == (3, 48, 72)
    assert run("review", root).exit_code == 2  # no accessories here
    assert run("review", root, "--subset", layout.DIGITAL_HUMAN).exit_code == 0
    sheets = sorted((root / layout.DIGITAL_HUMAN / ".review").iterdir())
    assert [path.name for path in sheets][:2] == ["dh-0000000_bare.png", "dh-0000000_hat.png"]
    decisions = root / layout.DIGITAL_HUMAN / layout.REVIEW
    content = json.loads(decisions.read_text())
    group = f"{layout.DIGITAL_HUMAN}/dh-0000000/hat"
    assert content["groups"][group]["decision"] == "undecided"
    content["groups"][group]["decision"] = "reject"
    decisions.write_text(json.dumps(content))
    assert run("review", root, "--subset", layout.DIGITAL_HUMAN).exit_code == 0
    assert json.loads(decisions.read_text())["groups"][group]["decision"] == "reject"
    assert len(AnyHead(root)) == 3


def test_a_stored_split_is_not_changed(root: Path) -> None:
    assert run("split", root, "--validation", 0.5, "--test", 0).exit_code == 0
    assert run("split", root, "--validation", 0.5, "--test", 0).exit_code == 0
    result = run("split", root, "--validation", 0.1)
    assert result.exit_code == 2
    assert "a stored split is not changed" in result.output.replace("\n", " ")


def test_help_needs_neither_torch_nor_numba() -> None:
    code = (
        "import sys; from any3davatar.commands import data_cli;"
        "print(sorted({'torch', 'numba', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_importing_the_suite_imports_no_compiler() -> None:
    code = (
        "import sys; import any3davatar.anyhead.ready, any3davatar.anyhead.verify;"
        "print(sorted({'numba', 'scipy', 'diffusers', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
