"""What hostile people ask of a session: strategies over the fields that can be asked for.

A field that is added to `SessionOptions` is attacked too, by its name and with values of every
type; each request has at least one value that no page offers.
"""

from typing import Any

from hypothesis import strategies as st

from labkit_spawners.options import SessionOptions

FIELDS = sorted(SessionOptions.model_fields)
FOREIGN = [
    *("argv", "cmd", "environment", "env", "ip", "port", "job_id", "state", "notebook_dir"),
    *("req_prologue", "batch_script", "batch_submit_cmd", "exec_prefix", "user", "server_name"),
    *("--wrap", "profile\n", "__class__", "Profile", "$ne", "\0", "部門"),
]
"""Names of nothing that can be asked, some of batchspawner's and of other spawners."""


class Long(str):
    """A text that is not shown in whole where a test fails."""

    def __repr__(self) -> str:
        return f"<{len(self)} characters>"


LONG = Long("x" * 1_000_000)
TEXTS = [
    *("$(id)", "`id`", "; id", "| id", "&& id", "a\nb", "gpu\n#SBATCH --uid=0", "\r\nx", "'", '"'),
    *("#SBATCH --wrap=id", "--wrap=id", "--uid=0", "-p", "--", "../../etc/passwd", "~root", "%j"),
    *("\0", "gpu\0", "NaN", "Infinity", "1e999", "-1", "0x10", "１２", "٣", "1_000", "9" * 400),
    *("{profile}", "{{7*7}}", "%s", "${HOME}", "<script>", "\u202egpu", "\ud800", "\U0001f4a3"),
    *(
        "nowhere",
        "GPU",
        "gpu,debug",
        "gpu ; id",
        "4 GB; id",
        "4 GB\n--uid=0",
        "8h\nid",
        "0 GB",
        LONG,
    ),
]
"""None of them means anything here, as whatever it is given."""
NUMBERS = [-1, 2**53, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e308, float("inf"), float("nan")]

hostile_text = st.one_of(
    st.sampled_from(TEXTS),
    st.text(min_size=1, max_size=40).filter(lambda text: not _could_be_meant(text)),
)
hostile_value = st.one_of(
    hostile_text,
    st.sampled_from(NUMBERS),
    st.booleans(),
    st.lists(st.one_of(hostile_text, st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=5), hostile_text, max_size=2),
)


def _could_be_meant(text: str) -> bool:
    """An amount, or the name of something here."""
    return text.strip() == "" or text.strip()[0].isdigit() or text.strip() in ("lab", "gpu")


def _entry(value: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    of_field = st.tuples(st.sampled_from(FIELDS), value)
    unknown = st.one_of(st.sampled_from(FOREIGN), st.text(min_size=1, max_size=20))
    return st.one_of(of_field, st.tuples(unknown.filter(lambda key: key not in FIELDS), value))


def _request(value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A profile that there is, say, and beside it what there is not."""
    good = st.sampled_from([{}, {"profile": "notebook"}, {"profile": "gpu", "cores": 1}])
    bad = st.lists(_entry(value), min_size=1, max_size=3)
    return st.builds(lambda good, bad: {**good, **dict(bad)}, good, bad)


requests = _request(hostile_value)
"""As JSON can hold them."""
text_requests = _request(hostile_text.filter(lambda text: "\ud800" not in text))
"""As a form or an address can."""
short_requests = text_requests.filter(lambda options: LONG not in options.values())
"""As the header of a request can."""
server_names = st.one_of(
    st.sampled_from([text for text in TEXTS if "\ud800" not in text and text != LONG]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
).filter(lambda name: not _is_server_name(name))


def _is_server_name(name: str) -> bool:
    """What JupyterHub takes for one, after it was lowered, or what no proxy passes on."""
    return (
        name in (".", "..")
        or len(name) <= 30
        and all(c.isascii() and (c.isalnum() or c == "-") for c in name)
    )
