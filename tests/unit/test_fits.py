"""Where a base model has room to be tuned: the arithmetic, the places, and how both are shown."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit.models.catalogue import BaseEntry, add_model
from labkit.parsing import WrongValues
from labkit.recipes import RECIPES
from labkit.recipes.base import DeviceKind, KnowsMemory
from labkit.runs.fits import Fit, Place, kind_of, places_of, what_fits, where_by_method
from labkit.schedulers.base import DeviceHere
from labkit.schedulers.local import LocalPlugin
from labkit.settings import Site, read_site

from .as_terminal import Labkit

GB = 2**30
GPU = DeviceKind(torch_device="cuda", number_bytes=2)
OLD_GPU = DeviceKind(torch_device="cuda", number_bytes=4)
CPU = DeviceKind(torch_device="cpu", number_bytes=4)
Add = Callable[..., BaseEntry]


@pytest.fixture
def add(site: Site, tmp_path: Path) -> Add:
    """Put a model of Llama 3.1 8B's shape into the catalogue; of its weights, an empty file."""

    def add(name: str = "llama", **changes: Any) -> BaseEntry:
        folder = tmp_path / name
        folder.mkdir()
        config = {"vocab_size": 128_256, "tie_word_embeddings": False}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "model.safetensors").touch()
        llama = {"family": "llama", "num_parameters": 8_030_261_248, "hidden_size": 4096,
                 "num_layers": 32, "max_tokens": 131_072, "tasks": ["instruct"]}  # fmt: skip
        entry = BaseEntry(name=name, path=folder, **{**llama, **changes})
        add_model(site.catalogue, entry)
        return entry

    return add


def takes(base: BaseEntry, kind: DeviceKind, num_devices: int = 1) -> dict[str, float]:
    """By method, on each of the devices, in GB."""
    recipe = RECIPES.load(base.tasks[0])
    assert isinstance(recipe, KnowsMemory)
    found = recipe.memory_by_method(base, kind, num_devices)
    return {method: taken / GB for method, taken in found.items()}


# The arithmetic.


def test_an_8b_model_on_a_gpu(add: Add):
    """8.03 billion weights, of which 1.05 are the vocabulary's, and 0.042 in adapters."""
    found = takes(add(), GPU)
    assert list(found) == ["lora", "qlora", "full"]
    # The base in bfloat16: 15.0 GB. Adapters, gradients and moments in float32: 0.6. A row of 1,024
    # tokens, each block computed twice: 0.8. torch and the GPU's context: 1. So it goes on 24 GB.
    assert found["lora"] == pytest.approx(15.0 + 0.6 + 0.8 + 1, abs=0.2)
    # 0.52 bytes of each weight but the vocabulary's are 3.4 GB, the vocabulary's 2.0 and one
    # block's unpacked 0.4.
    assert found["qlora"] == pytest.approx(3.4 + 2.0 + 0.4 + 0.6 + 0.8 + 1, abs=0.2)
    # Weights, gradients and two moments in float32, 16 bytes each, are 119.7 GB: not on 80.
    assert found["full"] == pytest.approx(119.7 + 0.8 + 1, abs=0.2)


def test_four_gpus_share_out_an_8b_model(add: Add):
    base = add()
    one, four = takes(base, GPU), takes(base, GPU, 4)
    # A quarter of 119.7 GB; the vocabulary's weights, gradients and what is sent of them, 11.7 GB;
    # two blocks in bfloat16, 0.8. So four of 80 GB have room.
    assert four["full"] == pytest.approx(119.7 / 4 + 11.7 + 0.8 + 0.8 + 1, abs=0.3)
    # Before, the first measures all of the base, and what is tuned.
    base_file = base.path / "model.safetensors"
    with base_file.open("wb") as file:
        file.truncate(2 * base.num_parameters)
    assert takes(base, GPU, 4)["lora"] == pytest.approx(15.0 + 1, abs=0.1)
    assert four["qlora"] == one["qlora"]  # each holds all of the 4 bits


def test_two_gpus_that_share_out_a_small_model_with_a_large_vocabulary_hold_it_whole(add: Add):
    """More would be gathered than is spared."""
    base = add("small", num_parameters=290_000_000, num_layers=2, hidden_size=1024)
    assert takes(base, GPU, 2)["lora"] == takes(base, GPU)["lora"]


def test_a_gpu_without_bfloat16_holds_weights_in_float32(add: Add):
    base = add()
    new, old = takes(base, GPU), takes(base, OLD_GPU)
    assert old["lora"] - new["lora"] == pytest.approx(15.0 + 0.8, abs=0.2)
    assert old["full"] - new["full"] == pytest.approx(0.8, abs=0.2)  # only what a row keeps


def test_weights_that_are_stored_in_float32_are_measured_so(add: Add):
    base = add()
    with (base.path / "model.safetensors").open("wb") as file:
        file.truncate(4 * base.num_parameters)  # a hole: nothing lies on the disk
    found = takes(base, GPU)
    assert found["lora"] == pytest.approx(29.9 + 1, abs=0.1)
    assert found["qlora"] < 9  # whose base is measured in 4 bits


def test_a_model_that_reads_less_keeps_less(add: Add):
    assert takes(add("short", max_tokens=256), GPU)["lora"] < takes(add(), GPU)["lora"] - 0.5


def test_on_a_processor_it_takes_what_a_run_of_full_rows_asks_for(add: Add):
    found = takes(add(), CPU)
    rows = 4 * 4096 * 4096 * 32 * 34 / GB
    assert found["lora"] == pytest.approx(29.9 + 0.9 + rows + 1, abs=0.3)
    assert found["full"] == pytest.approx(24 * 8.03e9 / GB + rows + 1, abs=0.3)


def test_an_encoder_on_a_gpu(add: Add):
    """One of 560 million weights and 24 blocks, 1,024 wide, with 32 texts of 128 tokens."""
    large = {"num_parameters": 560_000_000, "hidden_size": 1024, "num_layers": 24}
    found = takes(add("large", **large, tasks=["text-classification"]), GPU)
    kept = 3 * (19 + 12.8) * 32 * 128 * 1024 * 24 / GB
    assert list(found) == ["full", "lora", "head"]
    assert found["full"] == pytest.approx(1 + 16 * 0.56e9 / GB + kept, abs=0.1)
    assert found["lora"] == pytest.approx(1 + 4.8 * 0.56e9 / GB + kept, abs=0.1)


# What the site says of devices.

SLURM = """\
catalogue = "models"

[clusters.slurm]
scheduler = "slurm"

[clusters.slurm.devices]
h100 = { memory = "80 GB" }
a10 = { memory = "24 GB" }
v100 = { memory = "32 GB", bfloat16 = false }
shard = { memory = "10 GB" }
odd = {}
"""
PROFILES = {
    "notebook": 'title = "Notebook"\nmemory = "4 GB"',
    "one": 'title = "One GPU, 4 hours"\ngpus = 1\ndevice = "h100"',
    "four": 'title = "Four GPUs"\ngpus = 4\ndevice = "a10"',
    "share": 'title = "Quarter of a GPU"\ngpus = 2\ndevice = "shard"',
    "old": 'title = "Old"\ngpus = 1\ndevice = "v100"',
    "odd": 'title = "Odd"\ngpus = 1\ndevice = "odd"',
    "new": 'title = "New"\ngpus = 1\ndevice = "b200"',
    "any": 'title = "Any"\ngpus = 1',
    "lost": 'title = "Lost"\ngpus = 1\ncluster = "nowhere"',
}


def site_with(folder: Path, *profiles: str, text: str = SLURM) -> Site:
    chosen = [f"[profiles.{name}]\n{PROFILES[name]}\n" for name in profiles]
    (folder / "labkit.toml").write_text("\n".join([text, *chosen]))
    return read_site(folder / "labkit.toml")


@pytest.mark.parametrize(
    ("profile", "title", "room_gb", "kind"),
    [
        ("notebook", "Notebook", 3, CPU),  # beside Ray's own
        ("one", "One GPU, 4 hours", 72, GPU),
        ("four", "Four GPUs", 21.6, GPU),
        ("share", "Quarter of a GPU (in a session alone)", 18, GPU),
        ("old", "Old", 28.8, OLD_GPU),
        ("odd", "Odd", None, GPU),
        ("new", "New", None, GPU),
        ("any", "Any", None, OLD_GPU),  # it may be the odd one
        ("lost", "Lost", None, GPU),
    ],
)
def test_what_a_profile_gives(
    tmp_path: Path, profile: str, title: str, room_gb: float | None, kind: DeviceKind
):
    (place,) = places_of(site_with(tmp_path, profile))
    assert (place.title, place.kind) == (title, kind)
    assert place.room_bytes == (None if room_gb is None else pytest.approx(room_gb * GB))
    assert place.num_devices == (4 if profile == "four" else 1)


def test_whichever_gpu_is_free_has_what_all_of_them_have(tmp_path: Path):
    (place,) = places_of(site_with(tmp_path, "any", text=SLURM.replace("odd = {}\n", "")))
    assert place.room_bytes == pytest.approx(0.9 * 24 * GB)  # and not that of a share


def test_a_type_of_device_with_wrong_keys_is_named(tmp_path: Path):
    with pytest.raises(WrongValues, match=r"clusters\.slurm\.devices\.odd\.memory: 'big' is no"):
        site_with(tmp_path, "one", text=SLURM.replace("odd = {}", 'odd = { memory = "big" }'))
    with pytest.raises(WrongValues, match=r"devices\.odd\.ram: unknown key.*Known: memory, bf"):
        site_with(tmp_path, "one", text=SLURM.replace("odd = {}", 'odd = { ram = "1 GB" }'))


HERE = """\
[clusters.here]
memory = "16 GB"

[clusters.here.devices."Tesla V100"]
bfloat16 = false
"""


def test_this_machine_is_a_place_with_each_model_of_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = ["Tesla V100", "Tesla V100", "NVIDIA L4", "Mute"]
    memory = {"Tesla V100": 32 * GB, "NVIDIA L4": 24 * GB}
    gpus = [DeviceHere(accelerator="nvidia", name=n, memory_bytes=memory.get(n)) for n in names]
    processor = DeviceHere(accelerator="cpu", name="Xeon", memory_bytes=16 * GB)
    monkeypatch.setattr(LocalPlugin, "devices", lambda self, settings: [processor, *gpus])
    places = places_of(site_with(tmp_path, "notebook", text=HERE))
    assert {place.title: (place.room_bytes, place.kind) for place in places} == {
        "Notebook": (3 * GB, CPU),
        "This machine": (15 * GB, CPU),
        "This machine's Tesla V100": (pytest.approx(28.8 * GB), OLD_GPU),
        "This machine's NVIDIA L4": (pytest.approx(21.6 * GB), GPU),
        "This machine's Mute": (None, GPU),
    }


def test_this_machine_has_what_the_scheduler_may_give(tmp_path: Path):
    _, here, *_ = places_of(site_with(tmp_path, "notebook", text=HERE))
    assert (here.title, here.room_bytes) == ("This machine", 15 * GB)


def test_a_cluster_with_wrong_settings_takes_no_other_place_away(tmp_path: Path):
    wrong = SLURM + '\n[clusters.here]\nnum_cpu = 2\n\n[clusters.odd]\nscheduler = "none"\n'
    assert [place.title for place in places_of(site_with(tmp_path, "one", text=wrong))] == [
        "One GPU, 4 hours"
    ]


# In words.


def fit(fits: bool | None, title: str) -> Fit:
    room = {True: 2, False: 0, None: None}[fits]
    place = Place(title=title, kind=GPU, room_bytes=room)
    return Fit(recipe="instruct", method="lora", place=place, memory_bytes=1)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ([True, False], "“A”"),
        ([True, True], "everywhere"),
        ([True], "“A”"),
        ([False, False], "nowhere"),
        ([None, None], "not known"),
        ([True, None, True], "“A”, “C”; not known of “B”"),
        ([False, None], "not known of “B”"),
    ],
)
def test_places_in_words(known: list[bool | None], words: str):
    fits = [fit(one, title) for one, title in zip(known, "ABC", strict=False)]
    assert [*where_by_method(fits)] == [("instruct", "lora", words)]
    other = [replace(one, method="full") for one in fits]
    assert [method for _, method, _ in where_by_method([*fits, *other])] == ["lora", "full"]


def test_without_any_place_nothing_is_said(add: Add):
    assert what_fits(add(), []) == ([], "")


def test_a_recipe_that_does_not_know_says_nothing(add: Add, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("labkit.plugins.Plugins.load", lambda self, name: object())
    place = Place(title="A", kind=GPU, room_bytes=GB)
    assert what_fits(add(), [place]) == ([], "")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [(None, "holds no config.json"), ("{", "config.json cannot be read"),
     ('{"vocab_size": "many"}', "config.json has no number as vocab_size")],
)  # fmt: skip
def test_a_model_whose_files_do_not_tell_says_why(add: Add, config: str | None, sentence: str):
    base = add()
    (base.path / "config.json").unlink()
    if config is not None:
        (base.path / "config.json").write_text(config)
    fits, problem = what_fits(base, [Place(title="A", kind=kind_of("cpu", None), room_bytes=GB)])
    assert not fits and sentence in problem


# In the terminal.


def test_the_list_says_where_each_model_fits(
    labkit: Labkit, add: Add, base: BaseEntry, site: Site, tmp_path: Path
):
    add()
    broken = add("broken")
    (broken.path / "config.json").unlink()
    (site.catalogue / "bad.toml").write_text("nmae = 1")
    site_with(tmp_path, "one", "four", "odd")
    said = labkit("models")
    room = said.out.partition("Room to tune them\n")[2].splitlines()
    lines = {name: words.strip() for name, _, words in (line.partition("  ") for line in room)}
    assert lines["llama"] == (
        "lora: “One GPU, 4 hours”, “Four GPUs”; not known of “Odd” · "
        "qlora: “One GPU, 4 hours”, “Four GPUs”; not known of “Odd” · full: not known of “Odd”"
    )
    assert lines["broken"] == "not known"
    assert "lora: “One GPU, 4 hours”, “Four GPUs”" in lines["thin"]
    assert "nmae: unknown key" in said.err
    told = {entry["name"]: entry for entry in labkit("models", "--json").json()}
    assert told["broken"]["fits"] == [] and "no config.json" in told["broken"]["fits_problem"]
    assert told["llama"]["fits"][0] == {
        "recipe": "instruct", "method": "lora", "place": "One GPU, 4 hours", "num_devices": 1,
        "memory_bytes": told["llama"]["fits"][0]["memory_bytes"],
        "room_bytes": round(0.9 * 80 * GB), "fits": True,
    }  # fmt: skip


def test_one_model_is_shown_in_full(labkit: Labkit, add: Add, tmp_path: Path):
    base = add(title="Llama", licence="llama3.1", languages=["en", "de"])
    site_with(tmp_path, "one", "odd")
    said = labkit("models", "show", "llama")
    assert said.code == 0
    for fact in ("8030.3 M", "131072 tokens", "none", "llama3.1", "en, de", str(base.path)):
        assert fact in said.out
    rows = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "lora 17.3 GB One GPU, 4 hours 72.0 GB yes" in rows
    assert "full 121.4 GB One GPU, 4 hours 72.0 GB no" in rows
    assert "full 121.4 GB Odd not known not known" in rows
    told = labkit("models", "show", "llama", "--json").json()
    assert [told] == labkit("models", "--json").json()


def test_what_cannot_be_shown_says_why(labkit: Labkit, add: Add, tmp_path: Path):
    base = add()
    said = labkit("models", "show", "lama")
    assert said.code == 2 and "Did you mean 'llama'?" in said.err
    (base.path / "config.json").write_text("[]")
    said = labkit("models", "show", "llama")
    assert said.code == 0 and "not known" in said.out and "no settings of a model" in said.out
    (base.path / "model.safetensors").unlink()
    assert "no longer at" in labkit("models", "show", "llama").err
