"""Keep vLLM's start-up noise out of the user's terminal: its log goes to a file, and so does what its children print."""

from __future__ import annotations

import json
import logging.config
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def log_to(log: Path) -> None:
    """Send vLLM's log, of this process and its children, to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = {"class": "logging.FileHandler", "filename": str(log), "formatter": "line"}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"}},
        "handlers": {"file": handler},
        "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
    file = log.with_suffix(".logging.json")
    file.write_text(json.dumps(config))
    os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(file)
    # vLLM warns while it is imported, before it configures its log; so this comes before the first import of it.
    logging.config.dictConfig(config)
    from expert_system.engine.plugin.register import LOG_VARIABLE

    os.environ[LOG_VARIABLE] = str(log)


@contextmanager
def children(log: Path | None) -> Iterator[None]:
    """Let processes that are started in this block inherit the log as their output; ours goes on to the terminal."""
    if log is None:
        yield
        return
    saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    streams = {1: sys.stdout, 2: sys.stderr}
    kept = {number: os.fdopen(os.dup(saved[number]), "w", buffering=1) for number in saved}
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if sys.stdout is sys.__stdout__:
            sys.stdout = kept[1]
        if sys.stderr is sys.__stderr__:
            sys.stderr = kept[2]
        for stream in streams.values():
            stream.flush()
        for descriptor in saved:
            os.dup2(file, descriptor)
        yield
    finally:
        for descriptor, terminal in saved.items():
            os.dup2(terminal, descriptor)
            os.close(terminal)
        sys.stdout, sys.stderr = streams[1], streams[2]
        for stream in kept.values():
            stream.close()
        os.close(file)
