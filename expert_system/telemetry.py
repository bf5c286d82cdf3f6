"""What the system says about itself: one canonical log line for each request, and metrics.

    Serving -> RequestLine -> {"event": "request", "request_id": …, "outcome": …} + expert_* metrics

Promise: every request ends in exactly one line whatever way it ends; no prompt or answer text is ever in it, and
no metric has a label whose values are unbounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from prometheus_client import Counter, Gauge, Histogram

from expert_system.domain import Done, Generation, Plan, Routing
from expert_system.errors import ExpertSystemError

_STAGE_BUCKETS = (0.0005, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)

REQUESTS = Counter("expert_requests", "Requests by how they ended.", ["outcome"])
IN_FLIGHT = Gauge("expert_requests_in_flight", "Requests admitted and not yet ended.")
EXPERT_REQUESTS = Counter("expert_expert_requests", "Requests that named an installed expert.", ["expert"])
TOKENS = Counter("expert_tokens", "Tokens read and produced.", ["kind"])
STAGE_SECONDS = Histogram("expert_stage_seconds", "Time in each stage of a request.", ["stage"], buckets=_STAGE_BUCKETS)
REQUEST_SECONDS = Histogram("expert_request_seconds", "Whole time of a request.", buckets=_STAGE_BUCKETS)
ATTACH_SECONDS = Histogram(
    "expert_attach_seconds",
    "Time until a request's expert set was in memory: hot was there already, cold was read from the store.",
    ["source"],
    buckets=_STAGE_BUCKETS,
)
RESIDENT_SETS = Gauge("expert_resident_sets", "Expert sets that this server has shown its engine and not unloaded.")
IN_USE_BYTES = Gauge("expert_in_use_bytes", "Host memory of the experts of running, waiting and pinned sets.")
ENGINE_READY = Gauge("expert_engine_ready", "1 while the engine takes requests.")
ROUTES = Counter("expert_routes", "Decisions of the router by their outcome.", ["outcome", "cached"])
ROUTED_EXPERTS = Counter("expert_routed_experts", "Plans of the router that hold an expert.", ["expert"])
ROUTE_SECONDS = Histogram("expert_route_seconds", "Time of one decision of the router.", buckets=_STAGE_BUCKETS)
CATALOGUE_EXPERTS = Gauge("expert_catalogue_experts", "Experts that the router chooses from.")

_log = structlog.get_logger("expert_system")


def log_to(stream: TextIO) -> None:
    """Send every log line, as one JSON object each, to this stream; called once by the composition root."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )


def log_nowhere() -> None:
    """Drop every log line: for a command that prints what happened itself."""
    structlog.configure(processors=[_dropped], cache_logger_on_first_use=False)


def _dropped(logger: Any, name: str, line: Any) -> Any:
    raise structlog.DropEvent


def event(name: str, **fields: Any) -> None:
    """Log something that happened to the server itself, such as its start."""
    _log.info(name, **fields)


def bug(request_id: str, error: BaseException) -> None:
    """Log an error that nobody raised on purpose, with its traceback."""
    _log.error("bug", request_id=request_id, exc_info=error)


def catalogue(experts: int, digest: str) -> None:
    """Log that the router knows other experts than before."""
    CATALOGUE_EXPERTS.set(experts)
    _log.info("catalogue", experts=experts, digest=digest)


def route(request_id: str, routing: Routing, *, seconds: float, cached: bool) -> None:
    """Log one decision of the router, without a word of the prompt."""
    outcome = "abstained" if routing.abstained else "routed"
    ROUTES.labels(outcome, str(cached).lower()).inc()
    ROUTE_SECONDS.observe(seconds)
    for expert in routing.experts:
        ROUTED_EXPERTS.labels(expert.name).inc()
    _log.info(
        "route",
        request_id=request_id,
        outcome=outcome,
        experts=[f"{e.name}@{e.version}={e.weight:g}" for e in routing.experts],
        scores=[round(e.score, 4) for e in routing.experts],
        cached=cached,
        router=routing.router_version,
        catalogue=routing.catalogue_digest[:12],
        route_s=round(seconds, 6),
    )


class RequestLine:
    """Collects what is known of one request; written once, when it ends."""

    def __init__(self, generation: Generation) -> None:
        self._fields: dict[str, Any] = {
            "request_id": generation.request_id,
            "experts": [str(reference) for reference in generation.experts],
            "priority": generation.priority,
        }

    def planned(self, plan: Plan) -> None:
        """Replace what the caller wrote by what runs."""
        self._fields["experts"] = [f"{e.name}@{e.version}={e.weight:g}" for e in plan.experts]
        self._fields["set_digest"] = plan.set_digest
        for expert in plan.experts:
            EXPERT_REQUESTS.labels(expert.name).inc()

    def done(self, done: Done) -> None:
        """Add the figures of an answer that came to its end."""
        usage, timings = done.usage, done.timings
        stages = {
            "route": timings.route_s,
            "attach": timings.attach_s,
            "queue": timings.queue_s,
            "prefill": timings.prefill_s,
            "decode": timings.decode_s,
        }
        self._fields |= {
            "finish_reason": done.finish_reason.value,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
        } | {f"{stage}_s": round(seconds, 6) for stage, seconds in stages.items()}
        for stage, seconds in stages.items():
            STAGE_SECONDS.labels(stage).observe(seconds)
        TOKENS.labels("prompt").inc(usage.prompt_tokens)
        TOKENS.labels("completion").inc(usage.completion_tokens)

    def _end(self, outcome: str, total_s: float, problem: str | None) -> None:
        REQUESTS.labels(outcome).inc()
        REQUEST_SECONDS.observe(total_s)
        extra = {} if problem is None else {"problem": problem[:500]}
        _log.info("request", outcome=outcome, **self._fields, total_s=round(total_s, 6), **extra)


@contextmanager
def request_line(generation: Generation) -> Iterator[RequestLine]:
    """Time a request and write its line on every way out."""
    line, started = RequestLine(generation), time.perf_counter()
    outcome, problem = "ok", None
    try:
        yield line
    except (asyncio.CancelledError, GeneratorExit):
        outcome = "cancelled"
        raise
    except ExpertSystemError as error:
        outcome, problem = type(error).__name__, str(error)
        raise
    except BaseException as error:
        outcome, problem = "bug", repr(error)
        raise
    finally:
        line._end(outcome, time.perf_counter() - started, problem)
