"""The catalogue: what may enter it, and what is said when something is wrong with it."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from labkit.errors import LabkitError, UsageError
from labkit.models.catalogue import (
    add_model,
    find_model,
    hash_weights,
    inspect_folder,
    list_models,
    num_embedding_weights,
)


def configure(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_folder_of_weights_is_read_without_running_anything(base_folder):
    entry = inspect_folder(base_folder, name="thin")
    assert (entry.name, entry.family, entry.num_parameters) == ("thin", "bert", 12)
    assert (entry.hidden_size, entry.num_layers, entry.max_tokens) == (8, 2, 512)
    assert entry.tasks == ["text-classification"]
    assert entry.weights_sha256 == hash_weights(base_folder)
    assert entry.weights_bytes == (base_folder / "model.safetensors").stat().st_size


def test_the_hash_changes_with_the_weights(base_folder):
    before = hash_weights(base_folder)
    save_file({"a": np.ones((3, 4), np.float32)}, base_folder / "model.safetensors")
    assert hash_weights(base_folder) != before


def test_the_name_comes_from_the_folder(tmp_path, base_folder):
    folder = base_folder.rename(tmp_path / "All MiniLM_L6 (v2)")
    assert inspect_folder(folder).name == "all-minilm-l6--v2"


def break_folder(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    match how:
        case "no config":
            config.unlink()
        case "broken config":
            config.write_text("{")
        case "config of something else":
            config.write_text("[]")
        case "no width":
            configure(folder, hidden_size="wide")
        case "unknown architecture":
            configure(folder, model_type="mamba9")
        case "own code":
            configure(folder, auto_map={"AutoModel": "evil.Model"})
        case "quantised":
            configure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "broken tokenizer":
            (folder / "tokenizer.json").write_text("{")
        case "empty tokenizer":
            (folder / "tokenizer.json").write_text("{}")
        case "no weights":
            weights.unlink()
        case "pickled weights":
            weights.rename(folder / "pytorch_model.bin")
        case "truncated weights":
            weights.write_bytes(weights.read_bytes()[:-7])
        case "a part is missing":
            index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        case "broken index":
            (folder / "model.safetensors.index.json").write_text("[]")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no config", "holds no config.json, so it is no folder of a base model"),
        ("broken config", r"config.json cannot be read"),
        ("config of something else", "holds no settings of a model"),
        ("no width", "hidden_size: found 'wide'; allowed is a whole number from 1"),
        ("unknown architecture", "architecture 'mamba9', which no recipe can tune. Known: bert,"),
        ("own code", "wants to run Python code of its own .* labkit runs no code"),
        ("quantised", "are quantised already .* Get those that they were made from"),
        ("no tokenizer", "holds no tokenizer.json. Save the model's fast tokenizer into it"),
        ("broken tokenizer", "tokenizer.json cannot be read"),
        ("empty tokenizer", "holds no tokenizer"),
        ("no weights", r"no weights as safetensors \(none\). Save them with save_pretrained"),
        ("pickled weights", r"\(only pytorch_model.bin, which can run code when opened\)"),
        ("truncated weights", "is not a whole safetensors file"),
        ("a part is missing", "lacks model-2.safetensors, which its index names"),
        ("broken index", "index.json is damaged"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(base_folder, how, sentence):
    break_folder(base_folder, how)
    with pytest.raises(LabkitError, match=sentence) as caught:
        inspect_folder(base_folder)
    assert str(base_folder) in str(caught.value)


def test_what_is_no_folder_is_named(tmp_path):
    with pytest.raises(LabkitError, match="nowhere is not a folder"):
        inspect_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["Thin", "../x", "a b", "-x", "x" * 65])
def test_a_name_that_cannot_be_a_files_is_refused(base_folder, name):
    with pytest.raises(UsageError, match="name: found .*; allowed is 1 to 64 small letters"):
        inspect_folder(base_folder, name=name)


def test_an_entry_is_found_by_its_name(site, base):
    assert find_model(site.catalogue, "thin") == base
    with pytest.raises(UsageError) as caught:
        find_model(site.catalogue, "thinn")
    assert str(caught.value) == (
        "No base model is called 'thinn'. Did you mean 'thin'? Known: thin. "
        "Add a folder of weights with: labkit models add PATH"
    )


def test_an_empty_catalogue_says_where_it_is(tmp_path):
    with pytest.raises(UsageError, match=f"Known: none yet in {tmp_path}"):
        find_model(tmp_path, "thin")


def test_a_broken_entry_hides_no_other(site, base):
    (site.catalogue / "bad.toml").write_text('nmae = "bad"')
    (site.catalogue / "copy.toml").write_bytes((site.catalogue / "thin.toml").read_bytes())
    found = list_models(site.catalogue)
    assert list(found.entries) == ["thin"]
    assert "nmae: unknown key. Did you mean 'name'?" in found.broken["bad"]
    assert "name: found 'thin'; allowed is the file's own name, 'copy'" in found.broken["copy"]
    assert find_model(site.catalogue, "thin") == base
    with pytest.raises(UsageError, match=r"Wrong in .*bad\.toml"):
        find_model(site.catalogue, "bad")


def test_weights_that_are_gone_later_say_how_to_bring_them_back(site, base, base_folder):
    (base_folder / "model.safetensors").unlink()
    with pytest.raises(LabkitError, match="no longer at .*: labkit models add PATH --name thin"):
        find_model(site.catalogue, "thin")


def test_adding_again_takes_the_place_of_the_older(site, base):
    add_model(site.catalogue, base.model_copy(update={"licence": "MIT"}))
    assert find_model(site.catalogue, "thin").licence == "MIT"


@pytest.mark.parametrize(
    ("config", "weights"),
    [({"tie_word_embeddings": False}, 1600), ({"tie_word_embeddings": True}, 800), ({}, 800)],
)
def test_the_weights_of_a_vocabulary_are_counted_once_or_twice(base_folder, config, weights):
    """transformers shares those of the first and the last layer, where it is not told not to."""
    configure(base_folder, vocab_size=100, **config)
    assert num_embedding_weights(inspect_folder(base_folder)) == weights


def test_positions_that_start_at_two_are_not_offered_as_tokens(base_folder):
    config = json.loads((base_folder / "config.json").read_text())
    config |= {"model_type": "xlm-roberta", "max_position_embeddings": 514}
    (base_folder / "config.json").write_text(json.dumps(config))
    assert inspect_folder(base_folder, name="thin").max_tokens == 512
