"""A command group that imports a command's module when the command is called.

So `dexter-tui --help` loads no command, and a command's module may import what it needs at its top.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer._click import Command, Context, HelpFormatter  # typer's own copy of click
from typer.core import TyperGroup

# Plain help: the descriptions of fields contain [MASK], which markup would swallow.
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}

# Name: the module whose `register` adds it, and the line in `dexter-tui --help`.
COMMANDS = {
    "audit": (
        "audit.audit_command",
        "Find what models rely on for each class, and write the report.",
    ),
    "run": ("run_commands", "Search for the words that raise a class, one run per seed."),
    "inspect": (
        "inspect_command",
        "Show what is recognised about a classifier, with its answers to 16 pictures.",
    ),
    "resume": ("run_commands", "Resume runs and jobs that were paused or ended early."),
    "runs": ("listing.runs_command", "List the runs in the store, newest study first."),
    "show": (
        "run_commands",
        "Show a run, a study, a screening or any other result in the store by its id.",
    ),
    "report": ("report_commands", "Caption a study's frames, test the claims, write the report."),
    "probe": ("report_commands", "Test one question of your own on a classifier."),
    "ask": (
        "explaining.ask_command",
        "Guess a classifier's answer to words of your own, without drawing.",
    ),
    "concepts": (
        "listing.concepts_command",
        "List WordNet's concepts around a class, and which belong to it.",
    ),
    "compare": ("compare_command", "Test the same claims on several classifiers."),
    "check": (
        "audit.check_command",
        "Fail with exit code 3 if a model has new or grown dependences.",
    ),
    "screen": ("screening.command", "Find concepts that raise or lower a class."),
    "slices": (
        "data.slices_command",
        "Show on which of your pictures a classifier errs, by the concepts in them.",
    ),
    "debias": (
        "data.debias_command",
        "Fit or train a classifier again, so that it relies less on a concept.",
    ),
    "whatif": (
        "explaining.whatif_command",
        "Find the smallest change of words that flips a classifier's decision.",
    ),
    "explain-bias": (
        "explaining.explain_bias_command",
        "Explain which attributes of people change a classifier's answers.",
    ),
    "serve": ("serve.command", "Serve the dashboard to a browser."),
    "query": ("query_command", "Query the store in SQL, or search its texts."),
    "export": ("exchange_commands", "Write a report as Markdown or HTML, or a whole bundle."),
    "import": ("exchange_commands", "Import a bundle, or a run folder of the public DEXTER code."),
    "status": ("queue_commands", "Show device slots, running jobs and the queue."),
    "queue": ("queue_commands", "Add, list and reorder waiting jobs."),
    "pause": ("queue_commands", "Pause runs and jobs: keep their place, free the memory."),
    "cancel": ("queue_commands", "Cancel runs and jobs at their next step."),
    "retry": ("queue_commands", "Queue failed, lost or cancelled runs and jobs again."),
    "tag": ("curation_commands", "Add or remove a tag on runs."),
    "note": ("curation_commands", "Write or show a note."),
    "archive": ("curation_commands", "Hide runs from the lists, or restore them."),
    "delete": ("curation_commands", "Delete runs and everything that belongs to them."),
    "classifiers": ("run_commands", "List the lab's classifiers and your own."),
    "lab": ("lab_commands", "Explore the embedded lab: models, scenes, pictures, fleet."),
    "fetch": (
        "maintenance_commands",
        "Download the models of a run, for a machine without network.",
    ),
    "config": ("maintenance_commands", "Write editable copies of settings and prompts."),
    "doctor": ("maintenance_commands", "Check this machine and the store, with remedies."),
    "gc": ("maintenance_commands", "Remove files that nothing needs."),
    "backup": ("maintenance_commands", "Copy the database while runs are going."),
}


# Shared by all groups of a process: a module adds its options to its functions once.
_LOADED: dict[str, Command] = {}


class LazyCommands(MutableMapping[str, Command]):
    """The commands by name; looking one up imports its module."""

    def __init__(self) -> None:
        self._loaded = _LOADED

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            module, _ = COMMANDS[name]
            part = typer.Typer(**PLAIN)
            import_module(f"dexter_tui.cli.{module}").register(part)
            self._loaded.update(typer.main.get_group(part).commands)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])
