import pytest
import torch

from any3davatar.model.dit import Attention, DiT
from any3davatar.model.initialization import initialize_dit
from tests.model.tiny import PAPER, seeded


@pytest.fixture
def dit() -> DiT:
    dit = DiT(PAPER, recompute_activations=False)
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.normal_(std=0.1, generator=seeded())
    return dit


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(2, 20, 32, generator=seeded())


@pytest.fixture
def condition() -> torch.Tensor:
    return torch.randn(2, 32, generator=seeded(1))


def test_dit_has_no_order_of_its_own(
    dit: DiT, tokens: torch.Tensor, condition: torch.Tensor
) -> None:
    """Tokens know their place by their rays: permuted tokens give permuted results."""
    order = torch.randperm(20, generator=seeded())
    permuted = dit(tokens[:, order], condition)
    # float32: softmax sums in another order
    torch.testing.assert_close(permuted, dit(tokens, condition)[:, order], atol=1e-5, rtol=1e-5)


def test_every_token_hears_every_other(
    dit: DiT, tokens: torch.Tensor, condition: torch.Tensor
) -> None:
    dit, tokens, condition = dit.double(), tokens.double(), condition.double()
    changed = tokens.clone()
    changed[:, 3, 0] += 1  # a layer norm would not notice all channels growing alike
    assert (dit(changed, condition) != dit(tokens, condition)).any(-1).all()


def test_condition_reaches_every_token(
    dit: DiT, tokens: torch.Tensor, condition: torch.Tensor
) -> None:
    assert (dit(tokens, condition + 1) != dit(tokens, condition)).any(-1).all()


def test_zero_gates_make_blocks_the_identity(tokens: torch.Tensor, condition: torch.Tensor) -> None:
    dit = DiT(PAPER, recompute_activations=False)
    initialize_dit(dit, seeded())
    for block in dit.blocks:
        assert torch.equal(block(tokens, condition), tokens)
    assert torch.equal(dit(tokens, condition), dit.norm(tokens))


def test_attention_equals_torchs_multihead_attention(tokens: torch.Tensor) -> None:
    ours, theirs = Attention(PAPER), torch.nn.MultiheadAttention(32, 2, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    expected, _ = theirs(tokens, tokens, tokens, need_weights=False)
    torch.testing.assert_close(ours(tokens), expected, atol=1e-5, rtol=1e-5)  # float32, 32 terms


def test_recomputation_changes_neither_result_nor_gradients(
    dit: DiT, tokens: torch.Tensor, condition: torch.Tensor
) -> None:
    gradients = []
    for dit.recompute_activations in (False, True):
        dit.zero_grad()
        out = dit(tokens, condition)
        out.square().sum().backward()
        gradients.append([out.detach(), *(p.grad for p in dit.parameters())])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)
