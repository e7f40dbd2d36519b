"""The only reader of os.environ, and the only writer: what keeps other libraries on this machine and in our folders."""

from __future__ import annotations

import os
from pathlib import Path

from localgif.errors import ConfigError


def weights_environment() -> tuple[str | None, str | None]:
    """The values of LOCALGIF_HOME (where weights are kept) and OLLAMA_MODELS (where an Ollama keeps its own)."""
    return os.environ.get("LOCALGIF_HOME"), os.environ.get("OLLAMA_MODELS")


def pin_matplotlib() -> None:
    """Set, before matplotlib is imported, where it keeps its list of fonts: with our cache, not in ~/.config.

    Where the user names a place (MPLCONFIGDIR), that one is used.
    """
    import platformdirs

    base = Path(os.environ.get("LOCALGIF_HOME") or platformdirs.user_cache_dir("localgif"))
    os.environ.setdefault("MPLCONFIGDIR", str(base.absolute() / "matplotlib"))


def api_key(name: str | None, where: str) -> str:
    """The key that a server wants, from the variable `name`; "" when no variable is named.

    Args:
        where: The line of models.toml that names it, e.g. "endpoints.vllm.api_key_env".

    Raises:
        ConfigError: the variable is not set.
    """
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"{where} names the variable {name}, which is not set",
            f"export {name}=... with the key that the server was started with, or remove the line",
        )
    return key


def pin_environment(url: str) -> None:
    """Set, before litellm and langchain are imported, what keeps them on this machine and at our endpoint.

    Sources: measured behaviour of litellm 1.106 (side calls go to OLLAMA_API_BASE and ignore api_base; only the word
    "True" switches the price-map download off; LITELLM_MODE=PRODUCTION stops the search for a .env file) and of
    langsmith (either variable alone switches tracing on).
    """
    os.environ.update(
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_MODE="PRODUCTION",
        HF_HUB_OFFLINE="1",
        LANGSMITH_TRACING="false",
        LANGCHAIN_TRACING_V2="false",
        OLLAMA_API_BASE=url,
        OLLAMA_HOST=url,
    )
    for name in ("NO_PROXY", "no_proxy"):
        present = os.environ.get(name, "")
        hosts = [h for h in present.split(",") if h]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost", "::1"]))


def variable_names() -> frozenset[str]:
    """The names of all variables that are set, without their values."""
    return frozenset(os.environ)
