"""`any3davatar reconstruct` as a person types it, with a network that is small but real."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from typer.testing import CliRunner, Result

from any3davatar.cli import app
from any3davatar.core import InvalidInput, Views
from any3davatar.io import read_gaussians, read_png, read_video_frames
from any3davatar.model import save_weights
from any3davatar.portraits import FramedPortrait, front_camera
from any3davatar.reconstruct import Reconstructor
from tests.model.tiny import EXTRAS, network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, network(EXTRAS))
    return path


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portraits")
    face = data.astronaut()[:300, 90:390]
    Image.fromarray(face).save(folder / "astronaut.png")
    Image.fromarray(face).convert("L").save(folder / "grey.jpg", quality=95)
    Image.fromarray(data.coffee()).save(folder / "coffee.png")
    (folder / "cut.jpg").write_bytes((folder / "grey.jpg").read_bytes()[:4000])
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.weights
def test_a_folder_becomes_heads_and_what_fails_is_named(
    weights: Path, portraits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "heads"
    done = run("reconstruct", portraits, "--out", out, "--checkpoint", weights, "--size", 48)
    assert done.exit_code == 1, done.output
    assert "no face found in 600 x 400 pixels" in done.output
    assert "cut.jpg: not a readable picture" in done.output
    assert sorted(path.name for path in out.iterdir()) == ["astronaut", "grey"]
    head = out / "astronaut"
    assert read_gaussians(head / "head.ply").count == 4 * EXTRAS.size_px**2
    assert read_png(head / "four.png")[0].shape == (3, 48, 4 * 48)
    assert len(list(read_video_frames(head / "turntable.mp4"))) == 60
    record = json.loads((head / "head.json").read_text())
    assert record["framing"]["how"] == "face"
    assert set(record["seconds"]) == {"load", "frame", "infer", "render_a_frame"}
    assert (
        "L converted to RGB"
        in json.loads((out / "grey" / "head.json").read_text())["framing"]["notes"]
    )


def test_the_same_seed_gives_the_same_head_and_steps_matter(weights: Path) -> None:
    reconstruct = Reconstructor.load(str(weights))
    camera = front_camera(EXTRAS.size_px, EXTRAS.vertical_fov_deg, EXTRAS.radius)
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(3, EXTRAS.size_px, EXTRAS.size_px, generator=generator)
    views = Views(picture, torch.ones(1, EXTRAS.size_px, EXTRAS.size_px))
    portrait = FramedPortrait(views, camera, "camera", {})
    first = reconstruct.infer(portrait, steps=1, seed=3).gaussians
    assert torch.equal(first.means, reconstruct.infer(portrait, steps=1, seed=3).gaussians.means)
    assert not torch.equal(
        first.means, reconstruct.infer(portrait, steps=1, seed=4).gaussians.means
    )
    assert not torch.equal(
        first.means, reconstruct.infer(portrait, steps=3, seed=3).gaussians.means
    )
    by_view = reconstruct.from_view(views, camera, seed=3).gaussians
    assert torch.equal(by_view.means, first.means)


@pytest.mark.border
def test_wrong_requests_are_refused_with_words(weights: Path, tmp_path: Path) -> None:
    reconstruct = Reconstructor.load(weights)
    size = EXTRAS.size_px
    views = Views(torch.zeros(3, size, size), torch.ones(1, size, size))
    portrait = FramedPortrait(views, reconstruct.camera, "camera", {})
    with pytest.raises(InvalidInput, match="steps must be at least 1; got 0"):
        reconstruct.infer(portrait, steps=0, seed=0)
    absent = run("reconstruct", tmp_path / "none.png", "--out", tmp_path)
    assert absent.exit_code == 2
    assert "no such file or folder" in absent.output
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no picture in this folder" in run("reconstruct", empty, "--out", tmp_path).output
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights.read_bytes()[:-100])
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "black.png")
    done = run(
        "reconstruct", tmp_path / "black.png", "--out", tmp_path / "o", "--checkpoint", damaged
    )
    assert done.exit_code == 2, done.output
    assert "damaged.safetensors" in done.output
