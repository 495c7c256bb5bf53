"""What all spawners of one hub share: the site, the records of sessions, the schedulers."""

from dataclasses import dataclass
from functools import cache, cached_property

from labkit.clusters import open_cluster
from labkit.settings import Profile, Site, load_site
from labkit_spawners.figures import measured
from labkit_spawners.offers import Offers
from labkit_spawners.places import asked_of, pools_for
from labkit_spawners.records import SessionRecords
from labkit_spawners.tags import SessionTags, tags_of
from labkit_spawners.watch import JobWatch


@dataclass(frozen=True)
class Lab:
    """As one object, so that a test can make its own."""

    site: Site
    records: SessionRecords
    watches: dict[str, JobWatch]

    @property
    def tags(self) -> SessionTags:
        return tags_of(self.site)

    @cached_property
    def offers(self) -> Offers:
        return Offers(self.site, self.watch)

    def watch(self, cluster: str) -> JobWatch:
        if cluster not in self.watches:
            self.watches[cluster] = JobWatch(measured(open_cluster(self.site, cluster), cluster))
        return self.watches[cluster]


@cache
def the_lab() -> Lab:
    """The site of this hub, read once."""
    site = load_site()
    return Lab(site, SessionRecords(site.state / "sessions"), {})


async def nodes_for(profile: Profile, watch: JobWatch) -> list[str]:
    """The names of all nodes that a session of that profile may run on."""
    return [node.name for pool in pools_for(profile, await watch.pools()) for node in pool.nodes]


async def accelerator_for(profile: Profile, watch: JobWatch) -> str:
    """The kind of devices that the profile would get on that cluster."""
    if not profile.gpus:
        return "cpu"
    pools = await watch.pools()
    there = (pool for pool in pools_for(profile, pools) if pool.holds(asked_of(profile, pool)))
    return next((pool.accelerator for pool in there), "cpu")
