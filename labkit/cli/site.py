"""`labkit site …`: the site's settings, whether they are right, and a demo site."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from labkit.cli.output import AsJson, print_fields, print_finding, print_json, say
from labkit.errors import LabkitError
from labkit.settings import load_site

app = App(name="site", help="Settings of this site, and whether they are right; a demo site.")


@app.default
def show(*, json: AsJson = False) -> None:
    """The settings that are in force, and where they come from."""
    site = load_site()
    if json:
        print_json({"settings": site.settings, **site.model_dump(mode="json")})
    else:
        clusters = {name: cluster.scheduler for name, cluster in site.clusters.items()}
        print_fields(
            {
                "settings": site.settings,
                "name": site.name,
                "runs": site.runs,
                "state": site.state,
                "catalogue": site.catalogue,
                "scratch": site.scratch,
                "clusters": ", ".join(f"{name} ({kind})" for name, kind in clusters.items()),
            }
        )


@app.command
def demo(folder: Annotated[Path, Parameter(help="Where the demo site goes.")]) -> None:
    """Make a demo site: settings, a catalogue with one base model, sample data."""
    from labkit.demo import prepare_demo

    say(f"The demo site is ready: {prepare_demo(folder)}")


@app.command
def check(
    *,
    user: Annotated[
        list[str] | None, Parameter(help="Try every profile as this person; may be repeated.")
    ] = None,
    hub_user: Annotated[
        str, Parameter(help="As whom the hub runs, where root asks; else it is you.")
    ] = "hub",
    json: AsJson = False,
) -> int:
    """Try all of the settings against what is there now; nothing is started or changed."""
    import asyncio

    try:
        from labkit_spawners.site_check import check_site
    except ModuleNotFoundError as error:
        raise LabkitError(
            f"This needs {error.name}. Get it with: pip install 'labkit[hub]'"
        ) from error
    site = load_site()
    findings = asyncio.run(check_site(site, people=user or [], hub_user=hub_user))
    well = not any(finding.fix and finding.needed for finding in findings)
    if json:
        lines = [asdict(finding) for finding in findings]
        print_json({"settings": site.settings, "well": well, "findings": lines})
    else:
        say(f"{site.name}, from {site.settings}")
        for finding in findings:
            print_finding(finding.key, finding.found, finding.fix, needed=finding.needed)
    return 0 if well else 1
