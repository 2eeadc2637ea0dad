"""A thread that watches over the files that a worker or runner rests on, whatever it computes.

It takes the locks of its process again if their files were deleted. It ends the process if the home
is gone, or if another process has taken one of its locks.
"""

import os
import threading
import time

from dexter_tui import EXIT_FAILED
from dexter_tui.jobs.recorder import log
from store import Store
from store.locks import FileLock

LOOK_SECONDS = 1.0
GONE_LOOKS = 4
"""The looks in a row that miss the home before the process ends."""


def start(store: Store, lock: FileLock) -> None:
    """Watch the home, the lock of the slot, and the locks of what this process claims."""
    threading.Thread(target=_watch, args=(store, lock), daemon=True).start()


def _watch(store: Store, slot: FileLock) -> None:
    missed = 0
    while True:
        time.sleep(LOOK_SECONDS)
        missed = missed + 1 if store.is_gone() else 0
        if missed >= GONE_LOOKS:
            _end(f"{store.home} was moved or removed: process {os.getpid()} ends")
        # Nothing is created in a home that is being deleted.
        if not missed and store.path.exists():
            for lock in (slot, *store.held_locks()):
                _keep(lock)


def _keep(lock: FileLock) -> None:
    try:
        if lock.keep():
            log(f"{lock.path} was deleted: locked again", "warning")
    except BlockingIOError:
        _end(f"{lock.path} was deleted, and another process has it: process {os.getpid()} ends")
    except OSError:
        pass  # nothing can be created there now, not by other processes either


def _end(line: str) -> None:
    """End the process at once, also where it computes: nothing that it finds can be recorded."""
    log(line, "error")
    os._exit(EXIT_FAILED)
