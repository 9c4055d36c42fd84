"""lancedb without what a store of ours never calls: the client of a hosted service.

lancedb needs some types of that client's protocol, and with them loads all of it: more than half
of the seconds that a first memory takes, in which a server's other threads hardly get to run.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from types import ModuleType

CLIENT = "lance_namespace_urllib3_client"
_OF_ITS_OWN = ("__all__", "__version__")
_loading = threading.RLock()
_under_way: set[str] = set()


class _OnDemand(ModuleType):
    """The client's package: its modules load as they are, it itself when a name of it is needed."""

    def __getattr__(self, name: str) -> object:
        spec, missing = self.__spec__, f"module {self.__name__!r} has no attribute {name!r}"
        inner = name.startswith("__") and name not in _OF_ITS_OWN
        if spec is None or spec.loader is None or inner:
            raise AttributeError(missing)
        with _loading:  # who comes second waits for the first
            if type(self) is _OnDemand and self.__name__ not in _under_way:
                _under_way.add(self.__name__)  # by itself, too, it is asked for names meanwhile
                try:
                    spec.loader.exec_module(self)
                finally:
                    _under_way.discard(self.__name__)
                self.__class__ = ModuleType  # type: ignore[assignment]  # now like any other
        if name not in self.__dict__:
            raise AttributeError(missing)
        return self.__dict__[name]


def leave_for_later() -> None:
    """Have the client load when it is asked for; before lancedb is imported."""
    spec = None if CLIENT in sys.modules else importlib.util.find_spec(CLIENT)
    if spec is not None and spec.submodule_search_locations is not None:
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _OnDemand
        sys.modules[CLIENT] = package
