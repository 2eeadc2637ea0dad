"""No key goes to an endpoint that a record names, unless its user agreed to it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import servers
import waiting
from report_study import add_study

from dexter.reasoning.settings import ReportSettings
from dexter_tui.analysis import report_job
from dexter_tui.analysis.study_request import request_report
from dexter_tui.jobs import trust
from dexter_tui.machine import devices
from store import State, Store, run_queue
from store.states import ENDED, Kind

KEY = "sk-secret-0123456789"


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Log]:
    """An endpoint that nobody agreed to, and a key in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with servers.serving(lambda handler, _body, _number: handler.text("got it")) as log:
        yield log


def foreign_report(home: Path, url: str) -> tuple[str, str]:
    """Make a store from elsewhere with a queued report that names an endpoint; study and job."""
    study = add_study(home)
    with Store.open(home) as store:
        job = run_queue.add_job(
            store,
            Kind.REPORT,
            ReportSettings(base_url=url, vlm="eyes", llm="pen").model_dump(mode="json"),
            config=store.runs(study_id=study)[0].config,
            device="cpu",
            study_id=study,
        )
    return study, job


def set_state(home: Path, job: str, state: State) -> None:
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE job SET state = ? WHERE id = ?", (state.value, job))


def test_no_command_asks_the_endpoint_of_a_record(
    home: Path, cli: Any, canary: servers.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(devices.CPU_SLOTS, "1")
    study, job = foreign_report(home, canary.url)
    # A queue from elsewhere: its worker has the key, and refuses.
    assert cli("queue", "start").code == 0
    with Store.open(home) as store:
        waiting.until(lambda: store.job(job).state in ENDED)
        ended = store.job(job)
    assert ended.state is State.FAILED
    assert "--trust-endpoint" in str(ended.error_line)
    for command, state in (
        (["retry", job], State.FAILED),
        (["retry", study], State.LOST),
        (["retry", job, "--trust-code", "--trust-pickle"], State.CANCELLED),
        (["resume", job], State.PAUSED),
        (["resume", job, "--detach"], State.FAILED),
    ):
        set_state(home, job, state)
        result = cli(*command)
        assert result.code == 2, result
        [line] = result.err.splitlines()
        assert canary.url.removesuffix("/v1") in line and "--trust-endpoint" in line
        with Store.open(home) as store:
            assert store.job(job).state is state
    assert canary.requests == []
    # The flag is consent to this endpoint, for this key.
    settings = ReportSettings(base_url=canary.url, llm="pen").for_generator("lab")
    with pytest.raises(trust.ConsentNeeded):
        report_job.endpoint(settings)
    set_state(home, job, State.PAUSED)
    trust.require([settings.model_dump()], trust.agreed_by(endpoint=True))
    assert report_job.endpoint(settings).key == KEY
    other = settings.model_copy(update={"key_file": str(home / "key")})
    for changed in (other, settings.model_copy(update={"base_url": "http://127.0.0.2:1/v1"})):
        with pytest.raises(trust.ConsentNeeded):
            report_job.endpoint(changed)


def test_typing_an_endpoint_is_consent(home: Path, canary: servers.Log) -> None:
    study = add_study(home)
    settings = ReportSettings(base_url=canary.url, llm="pen", image_text="none")
    with Store.open(home) as store:
        with pytest.raises(trust.ConsentNeeded):
            request_report(store, study, settings)
        typed = trust.agreed_by({"base_url": canary.url, "llm": "pen", "vlm": None})
        request_report(store, study, settings, agreed=typed)
    assert trust.lacking([settings.model_dump()]) == []
    assert canary.requests == []


def test_the_flag_is_consent_to_a_server_that_config_toml_names(
    home: Path, cli: Any, canary: servers.Log
) -> None:
    home.mkdir()
    for command in (["run"], ["queue", "add"], ["probe", "a duck at night"]):
        # A device that is not there is refused before the server is asked.
        named = {
            "classifier": f"{canary.url}/{command[0]}",
            "class_name": "red",
            "device": "cuda:99",
        }
        lines = [f'{name} = "{value}"' for name, value in named.items()]
        (home / "config.toml").write_text("\n".join(["[run]", *lines]))
        assert "pass --trust-endpoint" in cli(*command).err
        assert "cuda:99" in cli(*command, "--trust-endpoint").err
        assert trust.lacking([named]) == []
    assert canary.requests == []


@pytest.mark.parametrize(
    "settings",
    [
        {"llm": "openai:gpt-4o"},
        {"vlm": "openai:gpt-4o", "base_url": None},
        {"base_url": "http://h/v1"},
        {"base_url": "http://[h/v1", "key_file": "~nobody-of-that-name/key"},
        {"base_url": "http://h:99999/v1", "key_file": 5},
        {"base_url": ["x"], "llm": {}},
    ],
)
def test_any_settings_that_name_an_endpoint_need_consent(settings: dict[str, Any]) -> None:
    [need] = trust.needs(settings)
    assert need.field == "base_url"
    assert not trust.needs({"llm": "none", "vlm": "lab", "base_url": None})
