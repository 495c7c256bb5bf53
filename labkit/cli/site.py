"""`labkit site …`: the site's settings, and a demo site to try labkit with."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from labkit.cli.output import AsJson, print_fields, print_json, say
from labkit.settings import load_site

app = App(name="site", help="Settings of this site; a demo site.")


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
