"""Exit codes: one table from errors to what a shell script acts on."""

from __future__ import annotations

from expert_system.errors import (
    ConfigError,
    ExpertSystemError,
    IntegrityError,
    InvalidRequest,
    ProviderBusy,
    SourceUnavailable,
    UnknownExpert,
    VerificationError,
)

OK = 0
FAILURE = 1
USAGE = 2
NOT_FOUND = 3
VERIFICATION = 4
NETWORK = 5
INTERRUPTED = 130

_LOCAL: tuple[tuple[type[ExpertSystemError], int], ...] = (
    (InvalidRequest, USAGE),
    (ConfigError, USAGE),
    (UnknownExpert, NOT_FOUND),
    (IntegrityError, VERIFICATION),
    (VerificationError, VERIFICATION),
    (SourceUnavailable, NETWORK),
    (ProviderBusy, NETWORK),
)
_REMOTE = {
    "INVALID_ARGUMENT": USAGE,
    "NOT_FOUND": NOT_FOUND,
    "DATA_LOSS": VERIFICATION,
    "UNAVAILABLE": NETWORK,
    "DEADLINE_EXCEEDED": NETWORK,
}


def exit_code(error: ExpertSystemError) -> int:
    """The code for an error of ours, or for a server's answer (`client.RequestFailed`)."""
    code = getattr(error, "code", None)
    if code is not None:
        return _REMOTE.get(code.name, FAILURE)
    return next((number for kind, number in _LOCAL if isinstance(error, kind)), FAILURE)
