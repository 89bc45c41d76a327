import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from a3d_bench.captures import open_captures, read_folder
from a3d_bench.commands.data_cli import app as data_app
from a3d_bench.commands.protocols_cli import app as protocols_app
from a3d_bench.protocol import load_protocol
from any3davatar.core.rigs import turntable
from any3davatar.io import read_png
from tests.bench.capture_folders import write_anyhead, write_transforms

ANY_DATA = load_protocol("nersemble").data
run = CliRunner().invoke


def test_protocols_are_listed_and_shown_with_their_digest() -> None:
    listed = json.loads(run(protocols_app, ["list", "--json"]).stdout)
    assert {"anyhead", "anyhead-64", "nersemble", "smoke"} <= {row["name"] for row in listed}
    shown = json.loads(run(protocols_app, ["show", "smoke", "--json"]).stdout)
    assert shown["digest"] == load_protocol("smoke").digest
    assert shown["protocol"]["picture"]["size_px"] == 64
    text = run(protocols_app, ["show", "nersemble"]).stdout
    assert "222200037" in text
    assert load_protocol("nersemble").digest in text
    refused = run(protocols_app, ["show", "nothing"])
    assert refused.exit_code == 2
    assert "no protocol is named" in refused.stderr


def test_show_tells_what_is_there_and_draws_it(tmp_path: Path) -> None:
    write_anyhead(tmp_path / "data", {"dh-0": ["neutral"], "dh-1": ["smile"]})
    picture = tmp_path / "drawn.png"
    shown = run(data_app, ["show", str(tmp_path / "data"), "--draw", str(picture)])
    assert shown.exit_code == 0
    assert "2 persons, 2 groups" in shown.stdout
    assert "dh-1/smile: 8 views of 48 x 48" in shown.stdout
    rgb, _ = read_png(picture)
    # The input camera, red, stands below the head in the view from above: the face looks down.
    red = (rgb[0] > 0.7) & (rgb[1] < 0.3) & (rgb[2] < 0.3)
    rows, columns = red[:, : rgb.shape[2] // 2].nonzero().unbind(1)
    assert float(rows.float().mean()) > rgb.shape[1] * 0.7
    assert abs(float(columns.float().mean()) - rgb.shape[2] / 4) < 15


def test_show_under_a_protocol_tells_in_what_way_data_is_partial(tmp_path: Path) -> None:
    write_transforms(tmp_path / "head", turntable(5, size_px=16), with_alpha=True)
    arguments = ["show", str(tmp_path / "head"), "--protocol", "anyhead", "--json"]
    shown = run(data_app, [*arguments, "--draw", str(tmp_path / "c.png")])
    content = json.loads(shown.stdout)
    assert "5 of 80 views" in content["partial"]
    assert content["captures"][0]["views"] == 5


def test_verify_names_every_bad_picture(tmp_path: Path) -> None:
    write_anyhead(tmp_path, {"dh-0": ["neutral"], "dh-1": ["smile"]})
    assert run(data_app, ["verify", str(tmp_path)]).exit_code == 0
    folder = tmp_path / "Digital_Human_Heads_Dataset" / "dh-1" / "smile"
    for name in ("002.png", "005.png"):
        (folder / name).write_bytes(b"\x89PNG")
    verified = run(data_app, ["verify", str(tmp_path), "--json"])
    assert verified.exit_code == 4
    reasons = [problem["reason"] for problem in json.loads(verified.stdout)["problems"]]
    assert len(reasons) == 2
    assert "view 002" in reasons[0]
    assert "view 005" in reasons[1]


def test_an_import_reads_as_the_data_it_was_made_of(tmp_path: Path) -> None:
    write_transforms(tmp_path / "from" / "a<b>", turntable(5, size_px=32), with_masks=True)
    write_transforms(tmp_path / "from" / "bad", turntable(5, size_px=32), with_alpha=True)
    (tmp_path / "from" / "bad" / "images" / "3.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    imported = run(data_app, ["import", str(tmp_path / "from"), str(out)])
    assert imported.exit_code == 1  # one capture was left out, and named
    assert "3.png" in imported.stderr
    before = read_folder(tmp_path / "from", ANY_DATA).captures[0]
    after = open_captures(load_protocol("anyhead"), out).captures[0]
    assert after.id == before.id == "a<b>"
    assert torch.equal(after.cameras.world_to_camera, before.cameras.world_to_camera)
    assert after.notes["frame"] == before.notes["frame"]
    for old, new in zip(before.views, after.views, strict=True):
        a, b = old.read(), new.read()
        assert torch.equal(a.alpha, b.alpha)
        assert torch.equal(a.rgb * (a.alpha > 0), b.rgb)
    again = run(data_app, ["import", str(tmp_path / "from"), str(out)])
    assert again.exit_code == 2
    assert "not an empty folder" in again.stderr


@pytest.mark.parametrize("folder", ["..", "../from", "/etc", "a/../../x", ".hidden"])
def test_an_import_whose_list_leads_outside_is_refused(tmp_path: Path, folder: str) -> None:
    write_transforms(tmp_path / "from" / "a", turntable(3, size_px=16), with_alpha=True)
    run(data_app, ["import", str(tmp_path / "from"), str(tmp_path / "out")])
    path = tmp_path / "out" / "CAPTURES.json"
    content = json.loads(path.read_text())
    content["captures"][0]["folder"] = folder
    path.write_text(json.dumps(content))
    found = read_folder(tmp_path / "out", ANY_DATA)
    assert not found.captures
    assert "folder" in found.problems[0].reason


def test_a_folder_of_no_known_kind_ends_with_code_2(tmp_path: Path) -> None:
    for command in (["show"], ["verify"]):
        result = run(data_app, [*command, str(tmp_path)])
        assert result.exit_code == 2
        assert "of no kind that is known here" in result.stderr
