"""Base models whose weights are as they were learnt, not quantised: those that can be tuned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError


def require_plain_weights(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises LabkitError where its config.json says that the weights were quantised."""
    if config.get("quantization_config"):
        raise LabkitError(
            f"The weights in {folder} are quantised already (quantization_config in config.json). "
            "Get those that they were made from; the method 'qlora' holds these in 4 bits."
        )
