"""What jobs of a test's own site find in their environment."""

SITE_OF_TEST = "LABKIT_SITE_OF_TEST"
THREADS_SLEEP = {"GOMP_SPINCOUNT": "1000"}
"""OpenMP's threads that wait for work go to sleep soon. As they are, a training on two cores that
takes 7 s took 95 where two of them, of two tests, ran at once; with this 13."""


def settings_of_jobs(site: object) -> str:
    """The end of a `labkit.toml`: whose a process is, and threads that sleep."""
    names = {SITE_OF_TEST: str(site), **THREADS_SLEEP}
    return "\n".join(["[environment.set]", *(f'{key} = "{value}"' for key, value in names.items())])
