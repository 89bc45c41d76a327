"""Back ends of the AI-generated subset that are external: small programs stand at the other end."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from any3davatar.anyhead.errors import DataError, Rejected
from any3davatar.anyhead.heads.spec import HeadSpec
from any3davatar.anyhead.pictures import write_views
from any3davatar.anyhead.programs import BackEndFailed, Program
from any3davatar.anyhead.prompts import sample_prompt
from any3davatar.anyhead.rigs import make_rig
from any3davatar.anyhead.stages.enhancement import CommandEnhancement, DiffusersEnhancement
from any3davatar.anyhead.stages.filters import CommandFilter
from any3davatar.anyhead.stages.lifting import CommandLifting, views_of_gaussians
from any3davatar.anyhead.stages.portraits import (
    CommandPortraits,
    DiffusersPortraits,
    HeadIdea,
    resized,
)
from any3davatar.core import Gaussians, Views
from any3davatar.core.frames import WORLD_FRAMES
from any3davatar.io import write_ply, write_png
from tests.anyhead.spheres import draw, head_of

RIG = make_rig("turntable8", 32, 0)
VIEWS = draw(head_of(1), RIG.cameras)
PORTRAIT = VIEWS[0]
IDEA = HeadIdea(7, sample_prompt(7), HeadSpec(), 32, 1)


def program(code: str, *arguments: str) -> Program:
    return Program((sys.executable, "-c", "import sys, shutil, json;" + code, *arguments), 30.0)


def test_a_program_makes_the_portrait(tmp_path: Path) -> None:
    write_png(tmp_path / "made.png", torch.ones(3, 64, 64) * 0.25, torch.ones(1, 64, 64))
    code = "assert sys.argv[2:] == [sys.argv[2], '7']; assert 'white' in sys.argv[2];"
    code += f"shutil.copy({str(tmp_path / 'made.png')!r}, sys.argv[1])"
    made = CommandPortraits(program(code, "{output}", "{prompt}", "{seed}")).portrait(IDEA)
    assert made.rgb.shape == (3, 32, 32)
    torch.testing.assert_close(made.rgb, torch.full((3, 32, 32), 64 / 255), atol=1e-5, rtol=0)


def test_an_opaque_portrait_is_cut_out_of_its_white_background(tmp_path: Path) -> None:
    picture = torch.ones(3, 32, 32)
    picture[:, 8:24, 8:24] = 0.5
    write_png(tmp_path / "made.png", picture)
    code = f"shutil.copy({str(tmp_path / 'made.png')!r}, sys.argv[1])"
    made = CommandPortraits(program(code, "{output}")).portrait(IDEA)
    assert float(made.alpha.sum()) == 256.0


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("pass", "the portrait is no picture"),
        ("open(sys.argv[1], 'w').write('<html>')", "the portrait is no picture"),
    ],
)
def test_a_portrait_that_is_none_is_a_failure(code: str, text: str) -> None:
    with pytest.raises(BackEndFailed, match=text):
        CommandPortraits(program(code, "{output}")).portrait(IDEA)


def a_ball(generator: torch.Generator) -> Gaussians:
    means = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=-1)
    return Gaussians.from_rgb(
        means=means * 0.5,
        quats=torch.tensor([[1.0, 0, 0, 0]]).expand(200, 4),
        scales=torch.full((200, 3), 0.08),
        opacities=torch.full((200,), 0.9),
        rgb=torch.rand(200, 3, generator=generator),
    )


def test_a_program_lifts_to_gaussians_in_its_own_frame(tmp_path: Path) -> None:
    ball = a_ball(torch.Generator().manual_seed(0))
    to_ours = WORLD_FRAMES["facelift"]
    write_ply(tmp_path / "theirs.ply", to_ours.inverse().apply_to_gaussians(ball))
    code = f"shutil.copy({str(tmp_path / 'theirs.ply')!r}, sys.argv[2] + '/head.ply')"
    lifting = CommandLifting(program(code, "{input}", "{output}"), frame="facelift")
    got = lifting.views(IDEA, PORTRAIT, RIG.cameras)
    expected = views_of_gaussians(ball, RIG.cameras)
    # Logarithms, logits and a rotation in float32 on the way through the file.
    torch.testing.assert_close(got.alpha, expected.alpha, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        got.rgb * got.alpha, expected.rgb * expected.alpha, atol=2e-3, rtol=0
    )


def test_a_program_lifts_to_views_for_the_cameras_it_is_given(tmp_path: Path) -> None:
    write_views(tmp_path, VIEWS.rgb, VIEWS.alpha)
    code = (
        "from pathlib import Path; asked = Path(sys.argv[1]);"
        "cameras = json.loads((asked.parent / 'cameras.json').read_text());"
        f"[shutil.copy({str(tmp_path)!r} + '/' + frame['name'] + '.png', sys.argv[2])"
        " for frame in cameras['frames'] if asked.is_file()]"
    )
    lifting = CommandLifting(program(code, "{input}", "{output}"))
    got = lifting.views(IDEA, PORTRAIT, RIG.cameras)
    assert torch.equal(got.alpha, VIEWS.alpha)


def test_a_lift_without_result_is_a_failure_and_an_unknown_frame_is_refused() -> None:
    with pytest.raises(BackEndFailed, match="the program's result can't be used"):
        CommandLifting(program("pass", "{output}")).views(IDEA, PORTRAIT, RIG.cameras)
    with pytest.raises(DataError, match="got the frame 'upside-down', expected one of"):
        CommandLifting(program("pass", "{output}"), frame="upside-down")


def test_enhanced_views_keep_their_alpha() -> None:
    code = (
        "from pathlib import Path; from PIL import Image, ImageOps;"
        "[ImageOps.invert(Image.open(p)).save(Path(sys.argv[2]) / p.name)"
        " for p in Path(sys.argv[1]).iterdir()]"
    )
    got = CommandEnhancement(program(code, "{input}", "{output}")).enhanced(IDEA, VIEWS)
    assert torch.equal(got.alpha, VIEWS.alpha)
    covered = VIEWS.alpha.expand_as(VIEWS.rgb) == 1
    # Eight bits out and in.
    torch.testing.assert_close(got.rgb[covered], 1 - VIEWS.rgb[covered], atol=1.1 / 255, rtol=0)
    with pytest.raises(BackEndFailed, match="a view did not come back"):
        CommandEnhancement(program("pass", "{output}")).enhanced(IDEA, VIEWS)


def test_a_program_judges_heads() -> None:
    def verdict(content: object) -> CommandFilter:
        text = json.dumps(content)
        return CommandFilter(program(f"open(sys.argv[1], 'w').write({text!r})", "{output}"))

    accepted = verdict({"accept": True, "scores": {"realism": 1}})
    assert accepted.judge(IDEA, PORTRAIT, VIEWS, RIG) == {"realism": 1.0}
    with pytest.raises(Rejected, match="waxy skin") as caught:
        verdict({"accept": False, "reason": "waxy skin", "scores": {"realism": 0.2}}).judge(
            IDEA, PORTRAIT, VIEWS, RIG
        )
    assert caught.value.scores == {"realism": 0.2}
    for useless in ({"accept": "yes"}, {"accept": False}, {"accept": True, "scores": {"a": "b"}}):
        with pytest.raises(BackEndFailed, match="the judge gave no verdict"):
            verdict(useless).judge(IDEA, PORTRAIT, VIEWS, RIG)


def test_a_missing_checkpoint_or_extra_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model_index\.json is missing"):
        DiffusersPortraits(tmp_path).portrait(IDEA)
    (tmp_path / "model_index.json").write_text("{}")
    installed = importlib.util.find_spec("diffusers") is not None
    text = "the checkpoint can't be loaded" if installed else r"any3davatar\[diffusers\]"
    with pytest.raises(DataError, match=text):
        DiffusersPortraits(tmp_path).portrait(IDEA)


def tiny_checkpoint(folder: Path) -> Path:
    """Save a latent diffusion pipeline of random weights and an alphabet for a vocabulary."""
    import diffusers  # pyright: ignore[reportMissingImports] optional extra
    import transformers  # pyright: ignore[reportMissingImports] optional extra

    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    text = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
    )
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=[32, 64],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            norm_num_groups=8,
        ),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer(
            str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
        ),
        unet=diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            norm_num_groups=8,
        ),
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # another project's business
def test_a_diffusers_checkpoint_makes_portraits_and_enhances_views(tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="the diffusers extra is not installed")
    checkpoint = tiny_checkpoint(tmp_path)
    portraits = DiffusersPortraits(checkpoint, steps=2, native_size_px=32)
    made = portraits.portrait(IDEA)
    assert made.rgb.shape == (3, 32, 32)
    assert torch.equal(portraits.portrait(IDEA).rgb, made.rgb)
    other = portraits.portrait(HeadIdea(8, IDEA.prompt, IDEA.spec, 32, 1))
    assert not torch.equal(other.rgb, made.rgb)
    enhanced = DiffusersEnhancement(checkpoint, strength=0.5, steps=4).enhanced(IDEA, VIEWS)
    assert torch.equal(enhanced.alpha, VIEWS.alpha)
    assert not torch.allclose(enhanced.rgb, VIEWS.rgb, atol=0.05)


def test_resizing_leaves_no_dark_or_bright_rim() -> None:
    view = Views(torch.zeros(3, 64, 64), torch.zeros(1, 64, 64))
    view.rgb[:, 16:48, 16:48] = 0.7
    view.alpha[:, 16:48, 16:48] = 1
    small = resized(view, 24)
    covered = small.alpha[0] > 0.01
    torch.testing.assert_close(
        small.rgb[:, covered], torch.full_like(small.rgb[:, covered], 0.7), atol=1e-5, rtol=0
    )
