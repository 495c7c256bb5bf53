"""The frozen weights of a language model in 4 bits, on which QLoRA puts its adapters.

Linear layers but the last are kept as NF4 with double quantisation (Dettmers et al. 2023, "QLoRA",
section 3) by bitsandbytes, which transformers calls as it loads the model. Importing this module
imports neither torch nor bitsandbytes.
"""

import logging
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    import torch

BYTES_A_WEIGHT = 0.52
"""Half a byte, 8 bits of scale for each 64 weights, and 32 bits for each 256 of those scales."""
_PACKAGES = ("bitsandbytes", "accelerate")
_OLDEST_GPU = (6, 0)
"""The compute capability that bitsandbytes asks for (its guide, "NVIDIA CUDA"). An older GPU would
end the process without an error that could be caught."""


def require_installed() -> None:
    """Raises UsageError where the packages for it are missing."""
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"The method 'qlora' holds the base model in 4 bits, for which {' and '.join(missing)} "
            "must be installed here. Install it with: pip install 'labkit[qlora]'. The methods "
            "'lora' and 'full' do not need it."
        )


def load_options(device: str, dtype: "torch.dtype") -> dict[str, Any]:
    """What `from_pretrained` is told, for a model on that device that computes in that format.

    Raises UsageError where packages are missing, LabkitError where the device cannot do it.
    """
    require_installed()
    import_without_fetching()
    _require_device(device)
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_one_layout(model: Any) -> None:
    """Let no pass without gradients lay out the weights anew.

    On processors with AVX512-BF16 bitsandbytes 0.50 does so for good, with coarser scales, and
    has no backward pass through them: what is learnt after the first validation would be wrong.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def import_without_fetching() -> None:
    """Import bitsandbytes where it is installed, before peft does; nothing is fetched by that.

    On processors with AVX512-BF16 it would ask the package `kernels` for compiled code from a hub,
    and log what to do where there is none.
    """
    if find_spec("bitsandbytes") is None or "bitsandbytes" in sys.modules:
        return
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    modules: dict[str, Any] = sys.modules
    kernels = modules.get("kernels")
    modules["kernels"] = None
    try:
        import_module("bitsandbytes")
    finally:
        del modules["kernels"]
        if kernels is not None:
            modules["kernels"] = kernels


def leave_out() -> None:
    """Have peft take bitsandbytes for not installed, in a process that has not imported it.

    It would import it for layers in 4 bits, with torch's compiler: more than a second, and for
    nothing where there are none. Not for a process that may be asked for both.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("bitsandbytes", None)


def _require_device(device: str) -> None:
    """Raises LabkitError where bitsandbytes cannot do it there, which is tried with one block."""
    import torch
    from bitsandbytes import functional

    try:
        is_cuda = torch.device(device).type == "cuda"
        if is_cuda and torch.cuda.get_device_capability(device) < _OLDEST_GPU:
            raise RuntimeError("bitsandbytes needs a GPU of compute capability 6.0 or newer")
        block = torch.ones(64, device=device)
        functional.quantize_4bit(block, quant_type="nf4", compress_statistics=True)
    except RuntimeError as error:
        reason = next(filter(None, map(str.strip, str(error).splitlines())), "no reason given")
        raise LabkitError(
            f"The method 'qlora' holds the base model in 4 bits, which {device!r} cannot do here: "
            f"{reason}. Choose the method 'lora', or another device."
        ) from error
