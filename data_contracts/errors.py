"""Every error that Punctual raises on purpose.

PunctualError
├── SourceError            a source is missing, empty or unreadable
├── ContractError          a table breaks its contract beyond its error budget
├── WorkspaceError         a workspace lacks what a command needs
├── NoTrainingRowsError    nothing is left to train on before the first test instant
├── ModelError             a model is corrupt, or does not fit the features that are served
├── ReplayError            a service stopped answering while events were replayed
├── SubscriptionError      a webhook cannot be set up as it was asked for
└── UnknownIdError         a stop, route, incident or webhook that the workspace has never seen
    └── NoLongerKeptError  what there was, and is kept no longer

The command prints the message and leaves with ``exit_code``; the service turns it into a problem document.
"""

from __future__ import annotations


class PunctualError(Exception):
    """Something went wrong; the message says what, where and what to do next."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        self.what, self.where, self.next_step = what, where, next_step
        message = f"{where}: {what}" if where else what
        super().__init__(f"{message}; {next_step}" if next_step else message)


class SourceError(PunctualError):
    """A source is missing, empty or unreadable."""


class ContractError(PunctualError):
    """A table breaks its contract beyond its error budget."""


class WorkspaceError(PunctualError):
    """A workspace lacks what a command needs."""


class NoTrainingRowsError(PunctualError):
    """Nothing is left to train on before the first test instant."""


class ModelError(PunctualError):
    """A model is corrupt, or does not fit the features that are served."""


class ReplayError(PunctualError):
    """A service stopped answering while events were replayed."""


class SubscriptionError(PunctualError):
    """A webhook cannot be set up as it was asked for."""


class UnknownIdError(PunctualError):
    """A stop, route, incident or webhook that the workspace has never seen."""


class NoLongerKeptError(UnknownIdError):
    """What there was, and is kept no longer."""
