"""Whether a session can be had, and what is free: asked by a start, and by the page meanwhile."""

import json

from jupyterhub.apihandlers import APIHandler, default_handlers
from tornado import web

from labkit.errors import LabkitError, UsageError
from labkit_spawners.form import choices_of, gives_in_words, how_much_is_free, known_in_words
from labkit_spawners.options import SOURCE, options_of_form, parse_options
from labkit_spawners.permission import require_permitted
from labkit_spawners.places import why_not
from labkit_spawners.shared import Lab, the_lab

OFFERS, FITS = "/api/labkit/offers", "/api/labkit/fits"
MAX_BODY = 10_000


async def require_possible(lab: Lab, person: str, given: object) -> None:
    """Raises LabkitError with what is allowed, and what would fit."""
    name, asked = parse_options(given, lab.site.profiles)
    watch = lab.watch(lab.site.cluster(asked.cluster)[0])
    await require_permitted(lab.site, watch, person, name, asked)
    try:
        pools = await watch.pools()
    except LabkitError:
        return  # the scheduler itself will say it once it answers
    if why := why_not(asked, pools):
        raise UsageError(why)


def bad_request(error: LabkitError) -> web.HTTPError:
    answer = web.HTTPError(400, "%s", str(error), reason="Wrong options")
    answer.jupyterhub_message = str(error)  # type: ignore[attr-defined]
    return answer


class _PageHandler(APIHandler):
    def person(self) -> str:
        if self.current_user is None:
            raise web.HTTPError(403, "Sign in first.")
        return self.current_user.name


class OffersHandler(_PageHandler):
    """What is free now, for a page that is open."""

    async def get(self) -> None:
        lab = the_lab()
        view = await lab.offers.look(self.person())
        keys = ("free", "start", "start_at")
        profiles = {
            choice.name: {key: getattr(choice, key) for key in keys}
            for choice in choices_of(lab.site, view)
        }
        self.finish(json.dumps({"known": known_in_words(view), "profiles": profiles}))


class FitsHandler(_PageHandler):
    """Whether what the form says could be had, before it is sent. It changes nothing."""

    async def post(self) -> None:
        lab, person, problem, said = the_lab(), self.person(), "", ""
        try:
            options = options_of_form(self._form())
            await require_possible(lab, person, options)
            _, asked = parse_options(options, lab.site.profiles)
            view = await lab.offers.look(person)
            pools = view.pools[lab.offers.cluster_of(asked)]
            said = f"{gives_in_words(asked)}. {how_much_is_free(asked, pools)[1]}"
        except LabkitError as error:
            problem = str(error).removeprefix(f"Wrong in {SOURCE}:").strip()
        self.finish(json.dumps({"problem": problem, "words": said}))

    def _form(self) -> dict[str, list[str]]:
        try:
            given = json.loads(self.request.body) if len(self.request.body) <= MAX_BODY else None
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
            raise web.HTTPError(400, "The body must be an object of the form's fields, as texts.")
        return {key: [value] for key, value in given.items()}


def mount() -> None:
    """Put ours among the hub's handlers."""
    ours = [(OFFERS, OffersHandler), (FITS, FitsHandler)]
    others = [handler for handler in default_handlers if handler[0] not in (OFFERS, FITS)]
    default_handlers[:] = [*others, *ours]
