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
            code="E-API-KEY",
        )
    return key


#: What keeps libraries quiet, whatever the environment says. Each was measured, or read in the library's source:
#: litellm 1.106 downloads a price list on import unless the first says the word "True" (others like it are asked for by
#: parts that we do not use); LITELLM_MODE stops its search for a .env file; USE_LITELLM_PROXY would send every request
#: of the reflector to another server. langsmith traces when any one of its four variables says so, and
#: LANGSMITH_GATEWAY redirects chat models. gepa can report to Weights & Biases.
_QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_MODE": "PRODUCTION",
    "USE_LITELLM_PROXY": "False",
    "LANGSMITH_TRACING": "false",
    "LANGSMITH_TRACING_V2": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_GATEWAY": "false",
    "OTEL_SDK_DISABLED": "true",
    "WANDB_MODE": "disabled",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
#: Must not be there at all: langchain stops with an error at the first two, whatever they say, and litellm looks for
#: tiktoken's files at the third instead of among its own.
_UNWANTED = ("LANGCHAIN_TRACING", "LANGCHAIN_HANDLER", "CUSTOM_TIKTOKEN_CACHE_DIR")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


#: The names of the variables that were set when this process began: what the user's shell leaks.
_AT_START = frozenset(os.environ)


def pin_libraries() -> None:
    """Set, before any library is imported, what keeps it from calling home; child processes inherit it."""
    os.environ.update(_QUIET)
    for name in _UNWANTED:
        os.environ.pop(name, None)


def pin_environment(url: str) -> None:
    """Set, before litellm and langchain are imported, what keeps them on this machine and at our endpoint.

    litellm's side calls go to OLLAMA_API_BASE whatever address it is given, ollama's client reads OLLAMA_HOST. Proxies
    go: no model is asked through one, and httpx without socksio does not even start where ALL_PROXY names a SOCKS one.
    What has to be fetched was fetched before.
    """
    pin_libraries()
    os.environ.update(OLLAMA_API_BASE=url, OLLAMA_HOST=url)
    for name in [name for name in os.environ if name.lower() in _PROXIES]:
        del os.environ[name]


def variable_names() -> frozenset[str]:
    """The names of the variables that the user's shell had set, without their values."""
    return _AT_START
