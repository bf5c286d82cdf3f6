"""Finds a base model by path, by its name on this node, or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from expert_system.errors import ConfigError

HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer*", "vocab*", "merges.txt")
NEVER_FETCHED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.py", "*.h5", "*.onnx", "*.gguf")


def resolve_base(name_or_path: str, home: Path) -> Path:
    """The folder of a base: an existing path, a name under `$EXPERT_HOME/bases`, or a hub id such as Qwen/Qwen3-0.6B.

    The hub is asked through huggingface_hub, so HF_HOME, HF_HUB_OFFLINE and HF_TOKEN count; pickles are never fetched.

    Raises:
        ConfigError: it is nowhere to be found; the message lists what there is.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    named = home / "bases" / name_or_path
    if named.is_dir():
        return named
    if name_or_path.count("/") != 1:
        have = ", ".join(sorted(entry.name for entry in (home / "bases").glob("*") if entry.is_dir())) or "none"
        raise ConfigError(
            f"base {name_or_path!r} is neither a folder, nor a base under {home / 'bases'} (there: {have}), "
            "nor a hub id OWNER/NAME; run `scripts/setup` for the embedded base"
        )
    return _from_hub(name_or_path)


def _from_hub(repository: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ConfigError(f"base {repository!r} is on the hub: install huggingface_hub, or give a folder") from None
    try:
        found = snapshot_download(repository, allow_patterns=list(HUB_FILES), ignore_patterns=list(NEVER_FETCHED))
    except Exception as error:
        raise ConfigError(
            f"base {repository!r} could not be fetched from the hub: {type(error).__name__}: {error}; "
            "check the name, the network and HF_TOKEN, or give the path of a downloaded folder"
        ) from error
    return Path(found)
