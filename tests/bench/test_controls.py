"""Controls: each scores what it is there to score, and none sees what it must not."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import torch

import a3d_baselines
from a3d_baselines.controls import Billboard, Faulty, MeanHead, NearestHead, Oracle
from a3d_bench.errors import BenchError
from a3d_bench.methods import Limits, RegisteredMethod, open_method, read_card
from a3d_bench.methods.conformance import probe_head
from a3d_bench.predict import predict
from a3d_bench.store import RunFolder
from a3d_bench.types import Avatar, Method, MethodError, Portrait, TruthMethod
from any3davatar.core import Cameras, Views
from any3davatar.core.rigs import orbit
from any3davatar.render import render
from tests.bench.method_examples import head_named, own_cache, rules

WHITE = torch.ones(3)
SIZE = 48


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_cache(tmp_path_factory.mktemp("cache")):
        yield


def rig(*azimuths: float) -> Cameras:
    return orbit(list(azimuths), [0.0] * len(azimuths), size_px=SIZE, vertical_fov_deg=24.0)


def portrait(id_: str = "probe/dh-0000000/smile") -> Portrait:
    camera = rig(0.0)
    views = render(probe_head(), camera, WHITE)
    return Portrait(id_, views.rgb[0].clamp(0, 1), views.alpha[0], WHITE, camera[0])


def psnr(avatar: Avatar, truth: Views, cameras: Cameras) -> float:
    shown = avatar.render(cameras, WHITE).rgb.clamp(0, 1)
    return float(-10 * torch.log10((shown - truth.rgb).square().mean()))


def test_oracle_is_above_the_floors_and_the_billboard_falls_away_from_the_front() -> None:
    cameras = rig(*range(0, 360, 30))
    rendered = render(probe_head(), cameras, WHITE)
    truth = Views(rendered.rgb.clamp(0, 1), rendered.alpha)
    given = portrait()
    oracle = Oracle(steps=60).reconstruct_from_truth(given, truth, cameras, seed=0)
    floors = [Billboard().reconstruct(given, seed=0), MeanHead().reconstruct(given, seed=0)]
    assert psnr(oracle, truth, cameras) > max(psnr(one, truth, cameras) for one in floors) + 3
    front, side = (Views(truth.rgb[i : i + 1], truth.alpha[i : i + 1]) for i in (0, 3))
    billboard = floors[0]
    assert psnr(billboard, front, rig(0.0)) > 30 > 20 > psnr(billboard, side, rig(90.0))


def test_the_billboard_without_alpha_shows_the_whole_picture() -> None:
    given = portrait()
    whole = Portrait(given.id, given.rgb, None, WHITE, None)
    views = Billboard().reconstruct(whole, seed=0).render(rig(0.0), torch.zeros(3))
    assert float((views.rgb[0] - given.rgb).abs().max()) < 1e-3


def test_the_mean_head_is_small_looks_ahead_and_never_looks() -> None:
    asset = files("a3d_baselines") / "assets" / "mean_head.spz"
    assert len(asset.read_bytes()) < 300_000
    method = MeanHead()
    other = Portrait("x", torch.zeros(3, SIZE, SIZE), None, WHITE, None)
    shown = method.reconstruct(portrait(), seed=0).render(rig(0.0, 180.0), WHITE)
    assert shown.rgb.equal(method.reconstruct(other, seed=1).render(rig(0.0, 180.0), WHITE).rgb)
    # Skin in front, hair behind: the middle of the picture, upper half of the head.
    front, back = shown.rgb[:, :, SIZE // 3 : SIZE // 2, SIZE // 2 - 4 : SIZE // 2 + 4].mean((2, 3))
    assert float(front.mean()) > float(back.mean()) + 0.1


def test_nearest_head_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("A3D_NEAREST_HEAD_DATA", raising=False)
    with pytest.raises(BenchError, match="A3D_NEAREST_HEAD_DATA"):
        NearestHead()
    with pytest.raises(BenchError, match="no such folder"):
        NearestHead(data=str(tmp_path / "absent"))


def test_faulty_fails_on_the_subjects_that_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Faulty(hang_seconds=0.0)
    with pytest.raises(MethodError, match="on purpose"):
        method.reconstruct(portrait("any/dh-0000001/smile"), seed=0)
    method.reconstruct(portrait("any/dh-0000002/smile"), seed=0)
    ended = []
    monkeypatch.setattr("os._exit", ended.append)
    method.reconstruct(portrait("any/dh-0000003/smile"), seed=0)
    assert ended == [3]
    views = method.reconstruct(portrait(), seed=0).render(rig(0.0, 10.0, 30.0), WHITE)
    plain = MeanHead().reconstruct(portrait(), seed=0).render(rig(0.0, 10.0, 30.0), WHITE)
    mirrored = [bool(views.rgb[i].equal(plain.rgb[i].flip(-1))) for i in range(3)]
    assert mirrored == [True, False, True]


@pytest.mark.parametrize("kind", [Billboard, MeanHead, Faulty])
def test_controls_keep_the_protocol_of_methods(kind: type) -> None:
    assert isinstance(kind(), Method)
    assert not isinstance(kind(), TruthMethod)


def registered(id_: str) -> RegisteredMethod:
    path = a3d_baselines.METHODS[id_]
    return RegisteredMethod(read_card(path), "test", path.parent)


@pytest.mark.slow
def test_faulty_and_oracle_run_as_the_harness_runs_them(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with open_method(registered("faulty"), Limits(seconds=2.0)) as faulty:
        statuses = [
            predict(run, faulty, head_named(f"dh-000000{i}"), rules()).status for i in range(4)
        ]
    assert statuses == ["ok", "method_error", "timeout", "method_error"]
    with open_method(registered("oracle")) as oracle:
        prediction = predict(run, oracle, head_named("dh-0000000"), rules())
    assert prediction.status == "ok"
    assert prediction.details["card"] == registered("oracle").card.digest
