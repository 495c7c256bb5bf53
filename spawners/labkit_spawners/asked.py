"""What a person asks of a session: by the form, by a link, by the API; checked in each case."""

from typing import Any

from batchspawner.batchspawner import BatchSpawnerBase

from labkit.errors import LabkitError, UsageError
from labkit.settings import Profile
from labkit_spawners.asking import bad_request, require_possible
from labkit_spawners.form import profile_form
from labkit_spawners.options import as_given, options_of_form, parse_options, read_options
from labkit_spawners.shared import Lab, the_lab


class SessionFailed(Exception):
    """A session that could not start, in a sentence that JupyterHub shows to the person."""

    def __init__(self, sentence: str):
        super().__init__(sentence)
        self.jupyterhub_message = sentence


class AskedSpawner(BatchSpawnerBase):
    """The part of `GpuSpawner` that knows what may be asked, and nothing of jobs."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.options_form = type(self).form
        self.options_from_form = self._from_form
        self.apply_user_options = type(self)._apply
        self._prefilled: dict[str, Any] = {}

    @property
    def lab(self) -> Lab:
        return the_lab()

    @property
    def why_it_ended(self) -> str:
        """Why the last session ended by itself, for the hub's pages; '' where it did not."""
        return self.lab.records.told(self.user.name, self.name)

    async def form(self) -> str:
        """The choice of profiles, as HTML."""
        prefilled, self._prefilled = self._prefilled, {}
        return await profile_form(self.lab.offers, self.user.name, prefilled, self.why_it_ended)

    async def _from_form(self, form: dict[str, list[str]]) -> dict[str, Any]:
        options = self._read_form(form)
        await self._require_possible(options)
        return options

    def _read_form(self, form: dict[str, list[str]]) -> dict[str, Any]:
        try:
            given = options_of_form(form)
            self._prefilled = given  # what was typed is there again where it is refused
            return as_given(read_options(given, self.lab.site.profiles))
        except UsageError as error:
            raise bad_request(error) from error

    def options_from_query(self, query_data: dict[str, list[str]]) -> dict[str, Any]:
        """A link may fill in the form; starting takes a press of the button.

        Else any page on the web could start sessions in the name of who visits it.
        """
        self._prefilled = self._read_form(query_data)
        raise SessionFailed("The link has chosen for you. Look at it, then press Start.")

    def chosen(self, given: object) -> tuple[str, Profile]:
        """The profile's name, and what the session is to be. Raises HTTPError (400)."""
        try:
            return parse_options(given, self.lab.site.profiles)
        except UsageError as error:
            raise bad_request(error) from error

    async def _require_possible(self, given: object) -> None:
        try:
            await require_possible(self.lab, self.user.name, given)
        except LabkitError as error:
            raise bad_request(error) from error

    async def _apply(self, user_options: object) -> None:
        self.chosen(user_options)
        if not self.lab.records.is_waiting(self.user.name, self.name):
            await self._require_possible(user_options)
