"""all-MiniLM-L6-v2 for tests, whole or its first layers."""

import json
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

from labkit.demo import demo_weights

THIN = 1
"""Of its six layers: it learns enough to be measured by, in a fraction of the time."""


def save_minilm(folder: Path, num_layers: int | None = None) -> Path:
    """In that new folder; `num_layers`: only so many of its first."""
    shutil.copytree(demo_weights(), folder)
    if num_layers is None:
        return folder
    config = json.loads((folder / "config.json").read_text())
    left_out = tuple(f"encoder.layer.{n}." for n in range(num_layers, config["num_hidden_layers"]))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(left_out)}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    config["num_hidden_layers"] = num_layers
    (folder / "config.json").write_text(json.dumps(config))
    return folder
