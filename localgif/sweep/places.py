"""[workers] of a sweep file: which server each worker of a cluster asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localgif.errors import ConfigError, nearest
from localgif.offline import is_here, server_url
from localgif.settings import EndpointSettings


def read_places(table: Any, endpoints: Mapping[str, EndpointSettings], place: str) -> dict[str, dict[str, str]]:
    """Name of a worker -> name of an endpoint -> address of the server that it asks there.

    Args:
        table: What stands under [workers].
        endpoints: Those that the cells use, by name.
        place: The file, for messages.

    Raises:
        ConfigError: no table, an endpoint that no cell uses or that has no address, a wrong address, or one on another
            machine without allow_remote.
    """
    example = 'write [workers.NAME], and below it a line such as ollama = "http://127.0.0.1:11434"'
    if not isinstance(table, dict):
        raise ConfigError(f"{place}: workers = {_shown(table)} is no table", example)
    found: dict[str, dict[str, str]] = {}
    for worker, lines in table.items():
        where = f"{place}: workers.{worker}"
        if not isinstance(lines, dict):
            raise ConfigError(f"{where} = {_shown(lines)} is no table", example)
        found[worker] = {name: _address(url, endpoints.get(name), f"{where}.{name}", name, endpoints)
                         for name, url in lines.items()}  # fmt: skip
    return found


def _address(
    url: Any, endpoint: EndpointSettings | None, where: str, name: str, endpoints: Mapping[str, EndpointSettings]
) -> str:
    if endpoint is None:
        raise ConfigError(f"{where}: no cell uses an endpoint of that name", nearest(name, endpoints))
    if endpoint.kind == "embedded":
        raise ConfigError(
            f"{where}: the endpoint is embedded, so each worker starts its own", "remove the line; it needs no address"
        )
    try:
        address = server_url(url, openai=endpoint.kind == "openai")
    except ValueError as error:
        raise ConfigError(f"{where} = {_shown(url)} {error}", "correct the address") from None
    if not is_here(address) and not endpoint.allow_remote:
        raise ConfigError(
            f"{where} = {_shown(url)} is not on the worker's own machine",
            f"write 127.0.0.1 if it is; else, when prompts and programs may go there: allow_remote = true under "
            f"[endpoints.{name}] in models.toml",
            code="E-CONFIG-REMOTE",
        )
    return address


def _shown(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)[:80]
