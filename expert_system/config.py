"""Settings, read once: command line over EXPERT_* environment over file over default.

    --config FILE or $EXPERT_HOME/config.toml, EXPERT_<SECTION>_<KEY>, flags -> Config + the source of each value

Promise: an unknown key is an error wherever it stands, every value's source is known, and secrets never print.
Lists and tables in the environment are JSON: EXPERT_ENGINE_EXTRA='{"block_size": 128}'.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from expert_system.errors import ConfigError

ENV_PREFIX = "EXPERT_"
DEFAULT_HOME = Path("~/.expert")
DEFAULT_PORT = 50051
NOT_SETTINGS = frozenset(
    {
        "EXPERT_ENGINE_LOG",
        "EXPERT_GATES",
        "EXPERT_HOST_BUDGET_BYTES",
        "EXPERT_KERNEL",
        "EXPERT_RUN_FOLDER",
        "EXPERT_TORCH_INDEX",
    }
)
"""Variables that our own processes and scripts hand to each other."""
_SECRET = re.compile(r"(^|_)(token|secret|password|passphrase|api_key)$", re.IGNORECASE)


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(Section):
    """The gRPC front end."""

    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    """0 takes a free port; the ready line names it."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Where /metrics answers over HTTP; unset is off, 0 takes a free port."""
    max_requests: int = Field(default=256, ge=1)
    """Requests admitted at once, running and waiting; one more gets RESOURCE_EXHAUSTED."""
    grace_s: float = Field(default=30.0, ge=0)
    """How long running requests may take to finish after SIGTERM."""

    def target(self, port: int | None = None) -> str:
        """Where a client on this machine reaches the server: `host:port`.

        Args:
            port: the port that was taken, when `self.port` is 0.
        """
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"{f'[{host}]' if ':' in host else host}:{port or self.port or DEFAULT_PORT}"


class EngineSettings(Section):
    """The engine; keys carry vLLM's names, and whatever is unset is vLLM's or the wrapper's choice."""

    base: str = "smollm2-135m-instruct"
    """A folder, a name under $EXPERT_HOME/bases, or a Hugging Face name."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """auto: the base's own, or float32 on x86 processors without AVX-512, which would emulate it."""
    max_loras: int = Field(default=16, ge=1)
    """Slots: expert sets that can run in one batch."""
    max_lora_rank: int = Field(default=256, ge=1)
    """Most ranks that one set may need in any module."""
    host_budget_bytes: int = Field(default=2 * 1024**3, ge=1)
    """Memory for the weights of experts that are loaded but in no use."""
    max_num_seqs: int = Field(default=32, ge=1)
    max_num_batched_tokens: int = Field(default=128, ge=1)
    """A step's tokens; on two cores 128 keep a step below 150 ms, so neighbours do not feel a long prompt."""
    max_model_len: int | None = Field(default=None, ge=1)
    kv_cache_memory_bytes: int = Field(default=1024**3, ge=1)
    seed: int = 0
    extra: dict[str, Any] = Field(default_factory=dict)
    """More of vLLM's engine arguments, handed over verbatim."""


class RouterSettings(Section):
    """What chooses experts for requests that name none."""

    enabled: Literal["auto", "on", "off"] = "auto"
    """auto: on where a router model and a signed expert are; on: a server without a router model does not start."""
    models: Path | None = None
    """A folder of router models, or one model's own; unset is router_models/ of the clone or of the package."""
    max_experts: int = Field(default=10, ge=0, le=10)
    """Most experts that the router puts into one plan."""
    cached: int = Field(default=4096, ge=0)
    """Decisions that are kept."""


class Config(Section):
    """Every setting of the system."""

    home: Path = DEFAULT_HOME
    """Bases, store, sets, derived data and logs (formats.md 7.1)."""
    dev: bool = False
    """Also serve experts installed with `--dev`, which nobody verified."""
    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    router: RouterSettings = RouterSettings()


class _Environment(Config, BaseSettings):
    """The same settings as pydantic-settings finds them in EXPERT_<SECTION>_<KEY>."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="_", env_nested_max_split=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One effective value and where it comes from."""

    key: str
    """Dotted, as in `engine.dtype`."""
    value: Any
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was read: the values, and the source of each that is not a default."""

    config: Config
    sources: Mapping[str, str]

    def table(self) -> Iterator[Setting]:
        """Every setting in reading order, secrets masked."""
        for key, value in _flatten(self.config.model_dump()):
            shown = "********" if _SECRET.search(key.rpartition(".")[2]) and value else value
            yield Setting(key=key, value=shown, source=self.sources.get(key, "default"))


def read(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read all sources once.

    Args:
        file: the TOML file to read instead of `$EXPERT_HOME/config.toml`; must exist when given.
        flags: values of command-line options by dotted key; None values are options that were not given.

    Raises:
        ConfigError: a key is unknown, a value does not fit, or a file cannot be read.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    environment = _from_environment()
    home = Path(given.get("home") or environment.get("home") or DEFAULT_HOME).expanduser()
    path = file if file is not None else home / "config.toml"
    layers = [
        (str(path), _from_file(path, required=file is not None)),
        ("environment", environment),
        ("command line", _nest(given)),
    ]
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        _merge(merged, layer)
        for key, _ in _flatten(layer):
            variable = ENV_PREFIX + "_".join(key.split(".")[:2]).upper()
            sources[key] = variable if source == "environment" else source
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, sources)) from None
    home = config.home.expanduser().resolve()
    return Settings(config=config.model_copy(update={"home": home}), sources=sources)


def _from_environment() -> dict[str, Any]:
    """The EXPERT_* variables as a tree; names that lead nowhere are refused."""
    fields = {name.upper() for name in Config.model_fields}
    for variable in os.environ.keys() - NOT_SETTINGS:
        upper = variable.upper()
        if upper.startswith(ENV_PREFIX) and upper.removeprefix(ENV_PREFIX).partition("_")[0] not in fields:
            raise ConfigError(f"environment variable {variable} names no setting; `expert-cli config show` lists them")
    try:
        tree = EnvSettingsSource(_Environment)()
    except SettingsError as error:
        raise ConfigError(f"environment: {error}; lists and tables are written as JSON") from None
    for variable in NOT_SETTINGS:
        section, _, key = variable.removeprefix(ENV_PREFIX).lower().partition("_")
        tree.get(section, {}).pop(key, None)
    return tree


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    """The TOML file as a tree; a missing default file is an empty one."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a tree."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            tree.setdefault(section, {})[name] = value
        else:
            tree[key] = value
    return tree


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Lay one tree over another, in place."""
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _flatten(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a tree by dotted key; an empty table is a leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    """One line for each problem: the key, where it was set, what is wrong and, for a typo, what was meant."""
    known = [key for key, _ in _flatten(Config.model_validate({}).model_dump())]
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        where = sources.get(key) or next((s for k, s in sources.items() if k.startswith(f"{key}.")), "")
        text = problem["msg"]
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, known, n=1)
            text = "no such setting" + (f"; did you mean {near[0]}?" if near else "")
        lines.append(f"{key} ({where}): {text}" if where else f"{key}: {text}")
    return "; ".join(lines)
