"""What takes seconds to import; see `tests.unit.training.at_once`."""

import transformers.models.llama.modeling_llama  # noqa: F401

from labkit.train.four_bits import import_without_fetching

import_without_fetching()  # of bitsandbytes, which peft imports

import peft  # noqa: E402, F401
