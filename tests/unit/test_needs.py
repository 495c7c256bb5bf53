"""Where this machine cannot run a test, it is skipped; in CI that is a failure."""

import os
import shutil

import pytest

from tests.needs import need
from tests.slurm.cluster import why_not


def test_what_is_missing_skips_here_and_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        need("no browser")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        need("no browser")
    need(None)
    need("")


def test_a_machine_that_cannot_run_the_cluster_says_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in (why_not() or "")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda command, path: None)
    said = why_not() or ""
    assert "slurmctld" in said and "apt-get install slurm-wlm munge" in said
