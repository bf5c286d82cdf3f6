"""The tree of errors; each message names the thing and the next step.

ExpertSystemError
├── RequestError                the caller's request cannot be served as it is
│   ├── InvalidRequest          a field is wrong                              INVALID_ARGUMENT
│   ├── UnknownExpert           no stored expert has this name or version     NOT_FOUND
│   ├── IncompatibleSet         experts exclude each other or lack another    FAILED_PRECONDITION
│   ├── WrongBase               trained for another base                      FAILED_PRECONDITION
│   ├── AdapterRefused          weights that cannot be served                 FAILED_PRECONDITION
│   ├── RouterUnavailable       routing is off, or has no model               FAILED_PRECONDITION
│   ├── Overloaded              over a budget of rank, memory or queue        RESOURCE_EXHAUSTED
│   └── DeadlineExceeded        the caller's time is over                     DEADLINE_EXCEEDED
├── IntegrityError              stored bytes are not the signed ones          DATA_LOSS
├── PackageError                an expert on disk that is not well formed
├── VerificationError           a numbered step of formats.md 4 failed
├── MarketplaceError            no expert or version can be had as asked
│   └── SourceUnavailable       a repository or index cannot be reached, or serves nonsense
├── EngineError
│   └── EngineUnavailable       starting, restarting or gone                  UNAVAILABLE
├── ProviderError               a service that writes data for us does not
│   ├── ProviderBusy            it may later                                  UNAVAILABLE
│   └── ProviderRefused         it will not, however often it is asked
└── ConfigError                 settings that cannot work
"""

from __future__ import annotations


class ExpertSystemError(Exception):
    """Everything this project raises on purpose."""


class RequestError(ExpertSystemError):
    """The request cannot be served as it is; the message says what to change."""


class InvalidRequest(RequestError):
    """A field of the request is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        """Name the field, then the problem."""
        super().__init__(f"{field}: {problem}")
        self.field = field


class UnknownExpert(RequestError):
    """No stored expert has this name or version."""

    def __init__(self, name: str, version: str | None = None) -> None:
        """Name the expert as the caller wrote it."""
        wanted = f"{name}@{version}" if version else name
        super().__init__(f"expert {wanted!r} is not installed; run `expert-cli install {wanted}` or check the name")
        self.name = name
        self.version = version


class IncompatibleSet(RequestError):
    """These experts cannot run together."""


class WrongBase(RequestError):
    """The expert was trained for another base."""


class AdapterRefused(RequestError):
    """The adapter's weights or options cannot be served; the message names the tensor or field."""


class RouterUnavailable(RequestError):
    """The request asks for the router, and this server has none."""


class Overloaded(RequestError):
    """A budget is exhausted; the message spells out the figures."""

    def __init__(self, problem: str, retry_after_s: float | None = None) -> None:
        """Say what is exhausted and, when waiting helps, how long to wait in seconds."""
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(RequestError):
    """The caller's time is over."""


class IntegrityError(ExpertSystemError):
    """Stored bytes are not the bytes that were installed; the expert is quarantined."""


class PackageError(ExpertSystemError):
    """A folder or archive that is not a well-formed expert."""


class VerificationError(ExpertSystemError):
    """A numbered verification step refused a package."""

    def __init__(self, step: str, problem: str) -> None:
        """Name the step of formats.md 4, such as "4.2", then the problem."""
        super().__init__(f"step {step}: {problem}")
        self.step = step


class MarketplaceError(ExpertSystemError):
    """No expert or version can be had as asked; the message says why."""


class SourceUnavailable(MarketplaceError):
    """A repository or index cannot be reached, or what it serves is not what it should be."""


class EngineError(ExpertSystemError):
    """The engine could not do what it was asked."""


class EngineUnavailable(EngineError):
    """The engine is starting, restarting, draining or gone; trying again may help."""

    def __init__(self, problem: str, retry_after_s: float = 5.0) -> None:
        """Say what state it is in and how long to wait in seconds."""
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class ProviderError(ExpertSystemError):
    """A service that writes data for us does not; what was paid before is kept."""


class ProviderBusy(ProviderError):
    """It could not answer now: too many requests, a failure of its own, a connection lost or a broken body."""

    def __init__(self, problem: str, retry_after_s: float | None = None) -> None:
        """Say what happened and, when the service said so, how long to wait in seconds."""
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class ProviderRefused(ProviderError):
    """It will not answer this, however often it is asked."""


class ConfigError(ExpertSystemError):
    """A setting is unknown, out of range or contradicts another."""
