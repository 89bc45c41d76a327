"""Write the network that ships: a mean of some weights, in bfloat16.

``python docs/ship_network.py WEIGHTS.safetensors... [--shares 0.3 0.7] [--out FILE]``. Runs that
went on from each other's weights lie in one valley, whose middle often does better than each of
them on heads that none has seen (Wortsman et al., "Model soups", 2022).
"""

import argparse
from pathlib import Path

import torch

from any3davatar.model import load_weights, save_weights
from any3davatar.reconstruct import SHIPPED


def main() -> None:
    """Average and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, nargs="+", help="of one configuration")
    parser.add_argument("--shares", type=float, nargs="+", help="of each; equal ones by default")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    count = len(arguments.weights)
    shares = torch.tensor(arguments.shares or [1 / count] * count, dtype=torch.float64)
    if len(shares) != count or abs(float(shares.sum()) - 1) > 1e-6:
        raise SystemExit(f"expected {count} shares that add up to 1; got {shares.tolist()}")
    model, *others = (load_weights(path) for path in arguments.weights)
    states = [model.state_dict()]
    for path, other in zip(arguments.weights[1:], others, strict=True):
        if other.config != model.config:
            raise SystemExit(f"{path} is of another network than {arguments.weights[0]}")
        states.append(other.state_dict())
    # Gaussians start at buffers that a run does not change; their mean is themselves.
    mean = {
        name: torch.stack([state[name] for state in states], dim=-1).double() @ shares
        for name in states[0]
    }
    mean = {name: tensor.float() for name, tensor in mean.items()}
    model.load_state_dict(mean, assign=True)
    save_weights(arguments.out, model, dtype=torch.bfloat16)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
