"""The commands as a person types them: results on disk, messages, exit codes."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from any3davatar.cli import app
from any3davatar.commands.scene import HeadOptions, background_color, fit_to_unit_sphere, read_head
from any3davatar.core import Gaussians
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.core.rigs import anyhead80, canonical_four
from any3davatar.io import (
    ColorRule,
    read_cameras,
    read_gaussians,
    read_png,
    read_video_frames,
    write_cameras,
    write_ply,
)
from any3davatar.render import render


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def some_head(n: int = 200) -> Gaussians:
    g = torch.Generator().manual_seed(0)
    rgb = torch.rand(n, 3, generator=g)
    directions = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)
    return Gaussians.from_rgb(
        means=directions * torch.tensor([0.4, 0.5, 0.45]),
        quats=torch.nn.functional.normalize(torch.randn(n, 4, generator=g), dim=-1),
        scales=torch.full((n, 3), 0.06),
        opacities=torch.full((n,), 0.9),
        rgb=rgb,
    )


@pytest.fixture
def head_file(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "HEAD.ply"
    path.parent.mkdir()
    write_ply(path, some_head())
    return path


def test_render_writes_what_the_library_renders_and_its_cameras(
    head_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("render", head_file, "--rig", "canonical4", "--size", 32, "--out", out)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in out.iterdir()) == [
        "000.png", "001.png", "002.png", "003.png", "cameras.json",
    ]  # fmt: skip
    expected = render(read_gaussians(head_file), canonical_four(32), torch.ones(3)).rgb
    for i in range(4):
        rgb, alpha = read_png(out / f"{i:03d}.png")
        assert alpha is None
        torch.testing.assert_close(rgb, expected[i].clamp(0, 1), atol=0.5 / 255 + 1e-6, rtol=0)
    cameras = read_cameras(out / "cameras.json")
    assert torch.equal(cameras.cameras.world_to_camera, canonical_four(32).world_to_camera)


def test_the_default_rig_is_the_80_evaluation_views(head_file: Path, tmp_path: Path) -> None:
    done = run("render", head_file, "--size", 8, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").glob("*.png"))) == 80
    cameras = read_cameras(tmp_path / "out" / "cameras.json").cameras
    assert torch.equal(cameras.world_to_camera, anyhead80(8).world_to_camera)


def test_transparent_pictures_hold_straight_alpha(head_file: Path, tmp_path: Path) -> None:
    done = run(
        "render", head_file, "--rig", "canonical4", "--size", 32, "--background", "transparent",
        "--bits", 16, "--out", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rgb, alpha = read_png(tmp_path / "000.png")
    assert alpha is not None
    over_white = rgb * alpha + 1 - alpha
    expected = render(read_gaussians(head_file), canonical_four(32)[:1], torch.ones(3)).rgb[0]
    # 16-bit colour, but colour above 1 was clipped before it was multiplied by alpha.
    torch.testing.assert_close(over_white, expected, atol=2e-3, rtol=0)


def test_cameras_may_come_from_a_file(head_file: Path, tmp_path: Path) -> None:
    cameras = canonical_four(24)[1:3]
    write_cameras(tmp_path / "mine.json", cameras, ["left", "right"])
    done = run("render", head_file, "--cameras", tmp_path / "mine.json", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "left.png", "right.png", "cameras.json",
    }  # fmt: skip


def test_a_camera_files_size_wins_and_contradicting_it_is_an_error(
    head_file: Path, tmp_path: Path
) -> None:
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2.7], [0, 0, 0, 1]]
    document = {
        "w": 20, "h": 16, "fl_x": 18.0,
        "frames": [{"file_path": "images/a.png", "transform_matrix": pose}],
    }  # fmt: skip
    cameras = tmp_path / "transforms.json"
    cameras.write_text(json.dumps(document))
    done = run("render", head_file, "--cameras", cameras, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rgb, _ = read_png(tmp_path / "out" / "a.png")
    assert rgb.shape == (3, 16, 20)
    wrong = run("render", head_file, "--cameras", cameras, "--size", 64, "--out", tmp_path / "out")
    assert wrong.exit_code == 2


def test_a_folder_is_rendered_file_by_file_and_a_bad_file_does_not_stop_it(
    head_file: Path, tmp_path: Path
) -> None:
    (head_file.parent / "broken.ply").write_bytes(b"ply\nformat nonsense\n")
    (head_file.parent / "notes.txt").write_text("not a head")
    write_ply(head_file.parent / "SECOND.ply", some_head())
    out = tmp_path / "out"
    done = run("render", head_file.parent, "--rig", "canonical4", "--size", 8, "--out", out)
    assert done.exit_code == 1
    assert "broken.ply" in done.output
    assert {p.name for p in out.iterdir()} == {"HEAD", "SECOND"}
    assert len(list((out / "SECOND").glob("*.png"))) == 4


def test_an_almost_empty_render_says_what_may_help(head_file: Path, tmp_path: Path) -> None:
    far = some_head()
    write_ply(head_file, Gaussians(**(far.tensors() | {"means": far.means + 500})))
    arguments = ["render", head_file, "--rig", "canonical4", "--size", 16, "--out", tmp_path]
    done = run(*arguments)
    assert done.exit_code == 0
    assert "Try --fit" in done.output
    fitted = run(*arguments, "--fit")
    assert "Try --fit" not in fitted.output


def test_turntable_films_one_turn(head_file: Path, tmp_path: Path) -> None:
    done = run("turntable", head_file, tmp_path / "turn.mp4", "--frames", 12, "--size", 64)
    assert done.exit_code == 0, done.output
    frames = list(read_video_frames(tmp_path / "turn.mp4"))
    assert len(frames) == 12
    front = render(read_gaussians(head_file), canonical_four(64)[:1], torch.ones(3)).rgb[0]
    # H.264 with 4:2:0 chroma: close to, and nearer to the front than to the back.
    back = render(read_gaussians(head_file), canonical_four(64)[3:], torch.ones(3)).rgb[0]
    assert float((frames[0] - front.clamp(0, 1)).abs().mean()) < 0.05
    assert float((frames[6] - back.clamp(0, 1)).abs().mean()) < 0.05


def test_several_turntables_need_a_folder(head_file: Path, tmp_path: Path) -> None:
    write_ply(head_file.parent / "SECOND.ply", some_head())
    wrong = run("turntable", head_file.parent, tmp_path / "turn.mp4", "--frames", 2, "--size", 16)
    assert wrong.exit_code == 2
    assert "2 inputs need a folder" in wrong.output
    done = run("turntable", head_file.parent, tmp_path / "films", "--frames", 2, "--size", 16)
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "films").iterdir()} == {"HEAD.mp4", "SECOND.mp4"}


@pytest.mark.parametrize("suffix", ["splat", "spz", "ply", "safetensors"])
def test_export_converts_and_keeps_the_look(head_file: Path, tmp_path: Path, suffix: str) -> None:
    done = run("export", head_file, tmp_path / f"out.{suffix}")
    assert done.exit_code == 0, done.output
    before, after = (
        render(read_gaussians(path), canonical_four(32), torch.ones(3)).rgb
        for path in (head_file, tmp_path / f"out.{suffix}")
    )
    # .splat and SPZ keep 8 bits of colour, opacity and rotation.
    tolerance = 1e-5 if suffix in ("ply", "safetensors") else 0.02
    assert float((before - after).abs().mean()) < tolerance


def test_a_splat_drops_view_dependence_and_says_so(head_file: Path, tmp_path: Path) -> None:
    sh = 0.1 * torch.randn(200, 4, 3, generator=torch.Generator().manual_seed(1))
    write_ply(head_file, Gaussians(**(some_head().tensors() | {"sh": sh})))
    done = run("export", head_file, tmp_path / "out.splat")
    assert done.exit_code == 0
    assert "view-dependent colour (SH degree 1) is dropped" in done.output.replace("\n", " ")
    assert read_gaussians(tmp_path / "out.splat").sh_degree == 0


def test_raw_rgb_colours_are_an_explicit_rule(head_file: Path, tmp_path: Path) -> None:
    arguments = ("--color", "raw-rgb", "--rig", "canonical4", "--size", 16, "--out", tmp_path)
    coefficients = run("render", head_file, *arguments)
    assert coefficients.exit_code == 1
    assert "these are coefficients" in coefficients.output.replace("\n", " ")

    head = some_head()
    rgb = torch.rand(200, 1, 3, generator=torch.Generator().manual_seed(2))
    write_ply(head_file, Gaussians(**(head.tensors() | {"sh": rgb})))  # f_dc = RGB, as LAM writes
    done = run("render", head_file, *arguments)
    assert done.exit_code == 0, done.output
    plain = Gaussians.from_rgb(head.means, head.quats, head.scales, head.opacities, rgb[:, 0])
    expected = render(plain, canonical_four(16)[:1], torch.ones(3)).rgb[0].clamp(0, 1)
    got, _ = read_png(tmp_path / "000.png")
    torch.testing.assert_close(got, expected, atol=0.5 / 255 + 1e-5, rtol=0)


def test_export_into_a_folder(head_file: Path, tmp_path: Path) -> None:
    done = run("export", head_file.parent, tmp_path / "out", "--to", "spz")
    assert done.exit_code == 0, done.output
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["HEAD.spz"]
    assert run("export", head_file, head_file.parent).exit_code == 2
    refused = run("export", head_file, head_file)
    assert refused.exit_code == 2
    assert "refusing to overwrite the input" in refused.output


def test_info_describes_a_file_in_words_and_in_json(head_file: Path) -> None:
    words = run("info", head_file)
    assert words.exit_code == 0, words.output
    assert "200" in words.output
    document = json.loads(run("info", "--json", head_file).output)
    assert document["count"] == 200
    assert document["sh_degree"] == 0
    assert document["format"] == "PLY"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rig", "nothing"), "unknown rig 'nothing'; known: anyhead80"),
        (("--background", "puce"), "unknown background 'puce'"),
        (("--frame", "mine"), "unknown frame 'mine'; known: any3davatar"),
        (("--color", "hsv"), "unknown colour rule 'hsv'; known: sh, raw-rgb"),
        (("--bits", "12"), "8 or 16 bits a channel; got --bits 12"),
        (("--fov", "180"), "vertical_fov_deg must lie in"),
    ],
)
def test_wrong_requests_end_in_one_line(
    head_file: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run("render", head_file, "--size", 8, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in done.output.replace("\n", " ")
    assert "Traceback" not in done.output


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    done = run("info", tmp_path / "nowhere.ply")
    assert done.exit_code == 2
    assert "no such file or folder" in done.output.replace("\n", " ")
    empty = run("info", tmp_path)
    assert empty.exit_code == 2
    assert "no file of Gaussians in this folder" in empty.output.replace("\n", " ")


def test_results_of_equally_named_inputs_do_not_collide(head_file: Path, tmp_path: Path) -> None:
    twin = tmp_path / "other" / "HEAD.ply"
    twin.parent.mkdir()
    write_ply(twin, some_head())
    done = run("render", head_file, twin, "--size", 8, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "their results would collide" in done.output.replace("\n", " ")


def test_a_frame_turns_the_head_into_ours(head_file: Path) -> None:
    ours = some_head()
    write_ply(head_file, WORLD_FRAMES["facelift"].inverse().apply_to_gaussians(ours))
    read = read_head(head_file, HeadOptions(frame="facelift", color=ColorRule.SH, fit=False))
    torch.testing.assert_close(read.means, ours.means, atol=1e-6, rtol=0)


def test_fit_ignores_a_few_floaters() -> None:
    head = some_head()
    moved = Gaussians(**(head.tensors() | {"means": 10 * head.means + 3}))
    moved.means[0] = 1e4
    fitted = fit_to_unit_sphere(moved).apply_to_gaussians(moved)
    radii = fitted.means[1:].norm(dim=-1)
    assert 0.85 < float(radii.max()) < 1.0
    assert float(fitted.means[1:].mean(0).norm()) < 0.1


def test_background_names() -> None:
    assert torch.equal(background_color("black"), torch.zeros(3))
    expected = torch.tensor([1.0, 128 / 255, 0.0])
    assert torch.equal(background_color("#ff8000"), expected)
