"""The wait of a command for a job that it queued."""

import sys
from typing import TYPE_CHECKING

from dexter.errors import InputError
from dexter_tui.cli.output import console_on

if TYPE_CHECKING:
    from store import Store


def follow(store: "Store", job_id: str, *, detach: bool = False) -> int:
    """Have runners do a job, and show its progress until it ends; return the exit code.

    Ctrl-C cancels the job. With `detach` nothing is waited for. InputError for refused input.
    """
    from dexter_tui.cli.live_progress import watch
    from dexter_tui.jobs.team import Team

    team = Team(store, [job_id])
    team.start()
    if detach:
        return 0
    watch(team, console_on(sys.stderr))
    job = store.job(job_id)
    if job.refused and job.error is not None:
        parts = {name: job.error.get(name) for name in ("field", "value", "remedy")}
        raise InputError(job.error["problem"], **parts)
    return team.exit_code()
