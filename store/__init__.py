"""The results store: studies, runs and their pictures in one SQLite file and a folder."""

from typing import TYPE_CHECKING, Any

from store.errors import StoreError
from store.states import ACTIVE, ENDED, State

if TYPE_CHECKING:
    from store.store import Store

__all__ = ["ACTIVE", "ENDED", "State", "Store", "StoreError"]


def __getattr__(name: str) -> Any:
    """Load `Store` on first use: `store.reading.browse` needs no SQLAlchemy and loads fast."""
    if name == "Store":
        from store.store import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
