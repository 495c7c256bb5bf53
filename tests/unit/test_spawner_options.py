"""Whatever is asked of a session, either a known profile comes out or a sentence."""

import json
import math
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.web import HTTPError
from traitlets.config import Config

from labkit.errors import UsageError
from labkit.settings import Profile, Site
from labkit_spawners import asked as asked_module
from labkit_spawners.asked import SessionFailed
from labkit_spawners.options import (
    SessionOptions,
    as_given,
    options_of_form,
    parse_options,
    read_options,
)
from labkit_spawners.records import SessionRecords
from labkit_spawners.shared import Lab
from labkit_spawners.spawner import GpuSpawner
from labkit_spawners.watch import JobWatch
from tests.unit.fake_lab import GB, PROFILES, FakeScheduler, fake_lab, spawner_of

HOSTILE_TEXTS = st.sampled_from(
    [
        "$(id)",
        "; reboot",
        "`id`",
        "a\nb\r\n#SBATCH --wrap=id",
        "\0",
        "../../etc/passwd",
        "中文",
        "\ud800",
        "%s %(x)s {user}",
        "<script>alert(1)</script>",
        "notebook\0",
        " notebook",
        "NOTEBOOK",
        "x" * 200_000,
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=20),
    st.text(max_size=20),
    HOSTILE_TEXTS,
    st.sampled_from(list(PROFILES)),
)
KEYS = st.one_of(
    st.sampled_from([*SessionOptions.model_fields, "cmd", "environment", "argv", "_xsrf"]),
    HOSTILE_TEXTS,
    st.text(max_size=10),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
OPTIONS = st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=3))
FORMS = st.dictionaries(KEYS, st.lists(st.one_of(st.text(max_size=9), LEAVES), max_size=3))

DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]

NOT_ALLOWED = [
    3,
    None,
    [],
    "notebook",
    {"profile": "huge"},
    {"profile": ["notebook"]},
    {"profile": True},
    {"profile": DEEP},
    {"profile": "notebook", "cmd": ["sh"]},
    {"profile": "notebook", "x" * 1_000_000: ""},
    {3: "notebook"},
]


def is_sentence(said: str) -> bool:
    return said.startswith("Wrong in the options of the session") and len(said) < 2000


def could_be_meant(options: object) -> bool:
    """Nothing but the keys of the schema, and a known profile."""
    if not isinstance(options, dict) or not options.keys() <= SessionOptions.model_fields.keys():
        return False
    return options.get("profile") in (None, *PROFILES)


def is_within_the_schema(profile: Profile) -> bool:
    """All that reaches a command is a number within its bounds, or a plain name."""
    amounts = (
        (profile.gpus, 0, 64),
        (profile.nodes, 1, 10_000),
        (profile.cores, 1, 4096),
        (profile.memory, 2**28, 2**50),
        (profile.time, 60, 30 * 86400),
    )
    names = (profile.device, profile.partition, profile.account, profile.reservation)
    return all(type(n) is int and low <= n <= high for n, low, high in amounts) and all(
        re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?", name, re.ASCII) for name in names
    )


def test_a_profile_is_chosen_by_name_and_is_the_first_where_none_is():
    assert parse_options({"profile": "large"}, PROFILES) == ("large", PROFILES["large"])
    assert parse_options({}, PROFILES) == ("notebook", PROFILES["notebook"])
    assert options_of_form({"profile": ["large"], "_xsrf": ["x"]}) == {"profile": "large"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profile": "huge"}, "profile: found 'huge'. Allowed: 'notebook', 'large'."),
        (
            {"profil": "large"},
            "profil: unknown key. Did you mean 'profile'? Known: profile, device, "
            "gpus, nodes, cores, memory, time, partition, account, reservation.",
        ),
        ({"gpus": 65}, "gpus: found 65; allowed is a whole number from 0 to 64."),
        ({"gpus": True}, "gpus: found True; allowed is a whole number from 0 to 64."),
        ({"nodes": math.nan}, "nodes: found nan; allowed is a whole number from 1 to 10000."),
        ({"cores": 10**400}, "…; allowed is a whole number from 1 to 4096."),
        (
            {"cores": 10**5000},
            "found a int that is too long; allowed is a whole number from 1 to 4096.",
        ),
        (
            {"memory": "9" * 1_000_000},
            "A str such as this is no amount of memory. Write it as '8 GB' or '512 MB'.",
        ),
        (
            {"memory": 1},
            "found 1; allowed is an amount of memory such as '8 GB' from 256 MB to 1024.0 TB.",
        ),
        (
            {"time": "40d"},
            "allowed is a length of time such as '45m' or '8h' from 1 min 00 s to 720 h 00 min.",
        ),
        (
            {"time": ["8h"]},
            "A list such as this is no length of time. Write it as '45m', '8h' or '1:30:00'.",
        ),
        (
            {"account": "--wrap=id"},
            "account: found '--wrap=id'; allowed is a name that the page offers.",
        ),
        ({"device": "h100"}, "gpus: 'h100' is chosen, but not how many. Say it."),
        (["large"], "they must be an object, as in {'profile': 'notebook', 'large'}."),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(options, said):
    with pytest.raises(UsageError) as caught:
        parse_options(options, PROFILES)
    assert str(caught.value).endswith(said)


def test_a_field_of_the_form_that_comes_twice_is_refused():
    with pytest.raises(UsageError, match="profile: given 2 times. Give it once."):
        options_of_form({"profile": ["notebook", "large"]})


def test_what_is_asked_otherwise_takes_the_place_of_the_profiles():
    given = {"profile": "large", "gpus": 2, "device": "h100", "memory": "1 GB", "time": "2h"}
    name, asked = parse_options(given, PROFILES)
    assert name == "large"
    assert (asked.gpus, asked.device, asked.memory, asked.time) == (2, "h100", GB, 7200)
    assert asked.cores == PROFILES["large"].cores
    kept = as_given(read_options(given, PROFILES))
    assert kept == {**given, "memory": GB, "time": 7200}
    assert parse_options(json.loads(json.dumps(kept)), PROFILES) == (name, asked)


def test_a_form_holds_texts_and_what_is_left_empty_is_not_asked():
    form = {
        "profile": ["large"],
        "gpus": [" 2 "],
        "cores": [""],
        "device": ["h100"],
        "time": ["2h"],
    }
    assert options_of_form(form) == {"profile": "large", "gpus": 2, "device": "h100", "time": "2h"}
    with pytest.raises(UsageError, match="gpus: found '٣'; allowed is a whole number"):
        parse_options(options_of_form({"gpus": ["٣"]}), PROFILES)


@given(OPTIONS)
def test_options_are_a_known_profile_or_a_sentence(options):
    try:
        name, profile = parse_options(options, PROFILES)
    except UsageError as error:
        assert is_sentence(str(error))
    else:
        assert could_be_meant(options)
        assert name in PROFILES and is_within_the_schema(profile)


@pytest.mark.parametrize("options", NOT_ALLOWED, ids=lambda options: repr(type(options)))
def test_what_is_huge_or_deep_or_no_object_gets_a_sentence_too(options):
    with pytest.raises(UsageError) as caught:
        parse_options(options, PROFILES)
    assert is_sentence(str(caught.value))


@given(FORMS)
def test_a_form_is_a_known_profile_or_a_sentence(form):
    try:
        name, profile = parse_options(options_of_form(form), PROFILES)
    except UsageError as error:
        assert is_sentence(str(error))
    else:
        assert name in PROFILES and is_within_the_schema(profile)
        assert form.keys() <= {*SessionOptions.model_fields, "_xsrf"}


@pytest.fixture
def bare(site: Site, monkeypatch: pytest.MonkeyPatch) -> GpuSpawner:
    """The spawner as somebody's own hub makes it: of a bare `Config()`."""
    lab = Lab(site.model_copy(update={"profiles": PROFILES}), SessionRecords(site.state), {})
    monkeypatch.setattr(asked_module, "the_lab", lambda: lab)
    lab.watches["local"] = JobWatch(FakeScheduler())
    return GpuSpawner(config=Config(), user=SimpleNamespace(name="ana", url="/user/ana/"))


@pytest.mark.parametrize("options", NOT_ALLOWED, ids=lambda options: repr(type(options)))
async def test_the_hub_answers_400_with_our_sentence(bare, options):
    with pytest.raises(HTTPError) as caught:
        await bare._run_apply_user_options(options)
    assert caught.value.status_code == 400
    # What the API's answer and the error page show.
    assert caught.value.log_message is not None
    assert is_sentence(caught.value.log_message % caught.value.args)
    assert is_sentence(getattr(caught.value, "jupyterhub_message", ""))


async def test_the_hub_takes_what_is_allowed(bare):
    for options, chosen in (({}, "notebook"), ({"profile": "large"}, "large")):
        await bare._run_apply_user_options(options)
        assert bare.chosen(options) == (chosen, PROFILES[chosen])


async def test_options_that_the_hub_had_stored_are_looked_at_again_in_start(site):
    scheduler = FakeScheduler()
    spawner = spawner_of(fake_lab(site, scheduler))
    spawner.user_options = {"profile": "of last year"}
    with pytest.raises(HTTPError, match="Allowed: 'notebook', 'large'"):
        await spawner.start()
    assert scheduler.submitted == []


async def test_a_link_only_fills_in_the_form(site):
    spawner = spawner_of(fake_lab(site, FakeScheduler()))
    with pytest.raises(SessionFailed, match="Look at it, then press Start"):
        spawner.options_from_query({"profile": ["large"]})
    page = await spawner.get_options_form()
    assert [name for name in PROFILES if is_checked(page, name)] == ["large"]


@given(FORMS)
def test_no_link_ever_gets_options_back(form):
    spawner = GpuSpawner(config=Config())
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(Site(profiles=PROFILES), SessionRecords(Site().state), {})
        patch.setattr(asked_module, "the_lab", lambda: lab)
        with pytest.raises((SessionFailed, HTTPError)):
            spawner.options_from_query(form)


def is_checked(page: str, name: str) -> bool:
    field = page.partition(f'value="{name}"')[2].partition(">")[0]
    return "checked" in field
