"""Export a checkpoint's averaged weights for the package: `python -m training.export --checkpoint runs/NAME/last.pt`.

Half precision, safetensors, one flat state dict of `SAM2Base` as `nano.yaml` builds it; the auxiliary heads stay
behind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from training import checkpoint
from training.evaluate import WEIGHTS
from training.network import build

LARGEST = 12_000_000  # bytes


def export(source: Path, target: Path) -> int:
    """Writes the weights and returns their size in bytes."""
    state = checkpoint.model_weights(source)
    build().load_state_dict(state)  # refuses names and shapes that the config doesn't have
    halves = {k: v.half().contiguous() if torch.is_floating_point(v) else v.contiguous() for k, v in state.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, target, metadata={"model": "nano", "licence": "Apache-2.0"})
    target.chmod(0o644)
    size = target.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{target} has {size} bytes; at most {LARGEST} may be shipped")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    print(f"{options.out}: {export(options.checkpoint, options.out) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
