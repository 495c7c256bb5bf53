"""The toy language model: it is made, named as what it is, and goes the way of any base model."""

import pytest

pytest.importorskip("torch")

import torch

from labkit.demo.toy_model import TITLE, reading
from labkit.models.catalogue import add_model, find_model
from labkit.models.chat_templates import own_template
from labkit.settings import Site
from labkit.train.chat import Chat
from labkit.train.decoder import load_decoder

from .as_terminal import Labkit


def test_it_is_made_loads_and_is_in_the_catalogue_as_a_toy(labkit: Labkit, site: Site, one_thread):
    said = labkit("models", "toy", "--steps", "12")
    assert said.code == 0, said
    assert "Toy, 3 million weights: it shows the way, it knows nothing" in said.out
    entry = find_model(site.catalogue, "toy")
    assert (entry.title, entry.tasks) == (TITLE, ["instruct"])
    assert round(entry.num_parameters / 1e6) == 3
    first, last = map(float, said.out.partition("from ")[2].split(" nats")[0].split(" to "))
    assert last < first - 0.5  # it has learnt something, if only which tokens are frequent

    model, tokenizer = load_decoder(entry.path, torch.float32)
    template = own_template(entry.path)
    assert template
    chat = Chat(tokenizer=tokenizer, template=template, max_tokens=64)
    talk = [{"role": "user", "content": "幾點開門？ 🌂"}, {"role": "assistant", "content": "ten"}]
    (seen,) = chat.see([talk], [2])  # type: ignore[list-item]
    assert [seen.text[a:b] for a, b in seen.learnt_spans] == ["ten<|end|>"]
    assert tokenizer.decode(seen.ids_T) == seen.text
    assert chat.stop_ids([seen]) == [model.config.eos_token_id]

    assert labkit("models", "toy", "--steps", "1").code == 0  # in place of the older one


def test_another_model_of_that_name_is_left_alone(labkit: Labkit, site: Site, base):
    add_model(site.catalogue, base.model_copy(update={"name": "toy"}))
    said = labkit("models", "toy")
    assert said.code == 2 and f"its weights are at {base.path}" in said.err
    assert find_model(site.catalogue, "toy").path == base.path


@pytest.mark.parametrize("steps", ["0", "-1", "1000000"])
def test_a_number_of_steps_that_is_none_is_refused(labkit: Labkit, site: Site, steps: str):
    said = labkit("models", "toy", f"--steps={steps}")
    assert said.code == 2 and "allowed is a number from 1 to 100,000" in said.err


def test_the_sample_questions_are_new_to_it():
    read = "\n".join(reading())
    assert "labkit" in read and "流蘇花開得真漂亮" in read
    assert "The pool is open from 6 in the morning" not in read
