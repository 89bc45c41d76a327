"""``benchmarks.train`` times the update that training does, stage by stage."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch

from any3davatar.anyhead.readers import GroupEntry
from any3davatar.train import loop
from any3davatar.train.batches import Share
from any3davatar.train.config import Precision
from any3davatar.train.samples import HeadSamples
from benchmarks.train import STAGES, batch_from, products_of, staged_update
from tests.train.tiny_run import MACHINE, PAPER_CONFIG


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stages_add_up_to_an_update(beans: tuple[GroupEntry, ...], precision: Precision) -> None:
    config = replace(PAPER_CONFIG, precision=precision, warmup_samples=0, decay="constant")
    samples = HeadSamples(beans, config)

    def trainee() -> loop.Trainee:
        return loop.make_trainee(config, MACHINE, loop.make_fabric(config, MACHINE), None)

    whole, staged = trainee(), trainee()
    before = {name: weight.clone() for name, weight in whole.model.state_dict().items()}
    share = Share((batch_from(samples, 0, config.batch),), ())
    loop.update(whole, share, 0, samples.id_of)
    spent: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    staged_update(staged, samples, 0, spent)
    assert set(spent) == set(STAGES)
    learned = [
        name for name, w in whole.model.state_dict().items() if not torch.equal(w, before[name])
    ]
    assert learned
    # AdamW's first step is the rate times the gradient's sign: a tenth of it tells the two apart
    # wherever rounding does not decide that sign.
    apart = torch.cat(
        [
            (staged.model.state_dict()[name] - whole.model.state_dict()[name]).abs().flatten()
            for name in learned
        ]
    )
    assert float((apart > config.learning_rate / 10).double().mean()) < 0.01
    precisions = {dtype for *_, dtype in products_of(staged, samples)}
    assert (torch.bfloat16 in precisions) == (precision == "bf16")
