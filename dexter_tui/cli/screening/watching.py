"""The loop of `screen --watch`: new checkpoints are queued, and their effects printed."""

import sys
import time
from pathlib import Path

from dexter_tui import EXIT_FAILED, paths
from dexter_tui.analysis.screening_request import ScreenRequest
from dexter_tui.analysis.screening_watch import Watcher
from dexter_tui.cli.live_progress import Lines
from dexter_tui.cli.output import console_on, print_json, print_text, print_view, say, start_runners
from dexter_tui.jobs import control
from store import Store, run_queue
from store.reading import screenings
from store.reading.browse import Browse

LOOK_SECONDS = 1.0


def watch_folder(folder: Path, request: ScreenRequest, *, detach: bool, as_json: bool) -> int:
    """Screen the checkpoints of a folder until Ctrl-C; with `detach`, queue those there now."""
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        watcher = Watcher(store, folder, request)
        if detach:
            watcher.look(settled=True)
            for _, error in watcher.problems.values():
                raise error
            job = watcher.queue()
            start_runners(store)
            if watcher.screening_id is None:
                say(
                    f"no checkpoint in {watcher.folder} yet, so nothing is queued; omit --detach "
                    "to wait for one"
                )
            if as_json:
                print_json({"id": watcher.screening_id, "job": job})
            elif watcher.screening_id is not None:
                print_text(watcher.screening_id)
            return 0
        say(f"watches {watcher.folder}; Ctrl-C ends it, and the same command continues")
        try:
            code = _watch(watcher)
        except KeyboardInterrupt:
            code = 0
    if watcher.screening_id is not None:
        page = screenings.page(Browse(paths.home()), watcher.screening_id)
        if as_json:
            print_json(page)
        else:
            from dexter_tui.presentation.screening_tables import screening_view

            print_view(screening_view(page))
    return code


def _watch(watcher: Watcher) -> int:
    from dexter_tui.presentation.screening_tables import course_table

    store = watcher.store
    lines = Lines(console_on(sys.stderr))
    shown = -1
    current: str | None = None
    while True:
        for name in watcher.look():
            say(f"found {name}")
        run_queue.reconcile(store)
        job = watcher.job()
        if job is None and current is not None:
            lines.show([store.job(current)])
            current = None
            failure = watcher.failure()
            if failure is not None:
                say(failure)
                return EXIT_FAILED
        if job is None and watcher.queue() is not None:
            start_runners(store)
            job = watcher.job()
        if job is not None:
            current = job.id
            control.ensure_runners(store)
            lines.show([job])
        if watcher.screening_id is not None:
            page = screenings.page(Browse(store.home), watcher.screening_id)
            done = sum(bool(member["findings"]) for member in page["members"])
            if done != shown and done:
                print_view(course_table(page))
            shown = done
        time.sleep(LOOK_SECONDS)
