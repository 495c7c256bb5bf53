"""One-file plug-ins, found by file name in our packages and by entry point outside.

A recipe, a scheduler and an accelerator are each one module that names its plug-in in one
constant. `text_classification.py` is the plug-in 'text-classification'. Modules that start
with an underscore, and `base`, are not plug-ins. A module is imported when it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Generic, TypeVar

from labkit.errors import UsageError, did_you_mean, known_names

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plugins(Generic[T]):
    """All plug-ins of one kind."""

    package: str
    """The package whose modules are plug-ins; also the entry-point group for those outside."""
    constant: str
    """The name, in each module, of the plug-in itself."""
    kind: str
    """The word for one of them in an error: 'recipe'."""

    def names(self) -> list[str]:
        return sorted(_loaders(self.package, self.constant))

    def load(self, name: str) -> T:
        """The plug-in of that name. Raises UsageError with the known names."""
        loaders = _loaders(self.package, self.constant)
        if name not in loaders:
            raise UsageError(
                f"No {self.kind} is called {name!r}.{did_you_mean(name, loaders)} "
                f"Known: {known_names(sorted(loaders))}."
            )
        return loaders[name]()

    def all(self) -> dict[str, T]:
        return {name: self.load(name) for name in self.names()}


@cache
def _loaders(package: str, constant: str) -> dict[str, Callable[[], Any]]:
    # Slow to import, and not needed by whoever only names the plug-ins' kind.
    import pkgutil
    from importlib.metadata import entry_points

    def from_module(module: str) -> Callable[[], Any]:
        return lambda: getattr(import_module(f"{package}.{module}"), constant)

    found: dict[str, Callable[[], Any]] = {
        entry.name: entry.load for entry in entry_points(group=package)
    }
    for module in pkgutil.iter_modules(import_module(package).__path__):
        if module.name != "base" and not module.name.startswith("_"):
            found[module.name.replace("_", "-")] = from_module(module.name)
    return found
