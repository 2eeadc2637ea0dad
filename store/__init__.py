"""The results store: studies, runs and their pictures in one SQLite file and a folder."""

from store.errors import StoreError
from store.states import ACTIVE, ENDED, State
from store.store import Store

__all__ = ["ACTIVE", "ENDED", "State", "Store", "StoreError"]
