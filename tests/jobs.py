"""What jobs of a test's own site find in their environment."""

SITE_OF_TEST = "LABKIT_SITE_OF_TEST"
THREADS_SLEEP = {"GOMP_SPINCOUNT": "1000"}
"""OpenMP's threads that wait for work go to sleep soon. As they are, a training on two cores that
takes 7 s took 95 where two of them, of two tests, ran at once; with this 13."""


ONE_CORE = "[clusters.here]\nnum_cpus = 1\n"
"""All that a site's jobs have: two tests run at once, on a machine that may have two."""


def settings_of_jobs(site: object) -> str:
    """The end of a `labkit.toml`: whose a process is, and threads that sleep."""
    names = {SITE_OF_TEST: str(site), **THREADS_SLEEP}
    return "\n".join(["[environment.set]", *(f'{key} = "{value}"' for key, value in names.items())])
