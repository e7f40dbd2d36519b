"""The models that a role can use, and whether each is available: the rows of `localgif models list`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from localgif.endpoint.discover import Tag, licence_of, list_models
from localgif.endpoint.ollama_request import same_model
from localgif.errors import ConfigError, LocalGifError, ModelMissing
from localgif.models.catalog import CATALOG, canonical
from localgif.models.download import file_size
from localgif.models.find import Listed, known_here
from localgif.models.toml import OLLAMA_PREFIX, ModelsFile
from localgif.offline import is_here, ollama_url
from localgif.records import Record
from localgif.run.roles import check_role, places, remote_model
from localgif.settings import EndpointKind, EndpointSettings, ModelSettings, Role

ROLES: tuple[Role, ...] = ("animator", "reflector")

#: Address of an Ollama -> its models, or why it cannot list them.
_Asked = dict[str, tuple[Tag, ...] | str]


class Row(Record):
    """A model that a role can use. Unknown values are None."""

    name: str
    """The name for [roles], --animator and --reflector; for weights without a table, the name for `models pull`."""
    roles: tuple[Role, ...] = ()
    """The roles that use it now."""
    found: Literal["file", "ollama", "weights"]
    """Whether it has a table in models.toml, is on an Ollama (and needs no table), or is known weights without one."""
    endpoint: str
    model: str
    present: bool | None
    """None if its server does not answer."""
    where: str
    """A file, an address, or the problem."""
    size: int | None = None
    """Bytes of the weights."""
    licence: str | None = None
    digest: str | None = None
    """sha256 of the weights (embedded) or of the model (Ollama), hex."""


def list_rows(file: ModelsFile) -> tuple[Row, ...]:
    """The models of models.toml in its order, then other models of the Ollama, then weights without a table.

    Downloads nothing and reads no weights. Asks each server once; a server that does not answer is not an error.
    """
    named = {role: file.named(role) for role in ROLES}
    weights = known_here(places())
    asked: _Asked = {}
    rows: list[Row] = []
    covered: set[str] = set()
    for name in dict.fromkeys([*file.aliases, *named.values()]):
        roles = tuple(role for role in ROLES if named[role] == name)
        try:
            model = file.role("animator", name)
        except ConfigError as error:
            where = error.message
            rows.append(Row(name=name, roles=roles, found="file", endpoint="?", model="?", present=None, where=where))
            continue
        facts = _facts(model, weights, asked)
        rows.append(Row(name=name, roles=roles, found="file", endpoint=model.endpoint.name, model=model.model, **facts))
        covered.add(f"{model.endpoint.url or ''} {canonical(model.model)}")
    ollama = _ollama(file)
    if ollama is not None:
        rows += _unnamed(ollama, asked, covered)
    for listed in weights:
        if f" {listed.name}" not in covered:
            facts = _of_weights(listed)
            rows.append(Row(name=listed.name, found="weights", endpoint="embedded", model=listed.name, **facts))
    return tuple(rows)


def may_play(model: ModelSettings) -> str:
    """A line for people about a model that a run can use now or download. Raises PreflightError if it cannot."""
    try:
        return check_role(model)
    except ModelMissing:
        known = CATALOG.get(canonical(model.model))
        if model.endpoint.kind != "embedded" or model.path is not None or known is None:
            raise
        return (
            f"{model.role:<10} {model.model}: its weights are not on this machine; the next run downloads "
            f"{known.size / 1e6:,.0f} MB, or download them now: localgif models pull {model.alias}"
        )


# --- a model's availability, as fields of a row ----------------------------------------------------------------------


def _facts(model: ModelSettings, weights: list[Listed], asked: _Asked) -> dict[str, Any]:
    if model.endpoint.kind == "embedded":
        return _of_embedded(model, weights)
    if model.endpoint.kind == "ollama":
        return _of_ollama(model, asked)
    try:
        found = remote_model(model)
    except LocalGifError as error:
        return {"present": False if isinstance(error, ModelMissing) else None, "where": error.message}
    return {"present": True, "where": model.endpoint.url or "", "size": found.size or None}


def _of_embedded(model: ModelSettings, weights: list[Listed]) -> dict[str, Any]:
    if model.path is not None:
        size = file_size(Path(model.path))
        return {"present": size is not None, "where": model.path, "size": size}
    listed = next((each for each in weights if each.name == canonical(model.model)), None)
    return _of_weights(listed) if listed else {"present": False, "where": "localgif knows no weights of that name"}


def _of_weights(listed: Listed) -> dict[str, Any]:
    if listed.path is not None:
        where = str(listed.path) + ("" if listed.checked else " (sha256 not checked yet)")
    elif listed.partial:
        where = f"{listed.partial / 1e6:,.0f} MB of it downloaded"
    else:
        where = listed.note or f"the first run downloads it, or download it now: localgif models pull {listed.name}"
    facts = {"size": listed.size, "licence": listed.licence, "digest": listed.digest}
    return {"present": listed.path is not None, "where": where, **facts}


def _of_ollama(model: ModelSettings, asked: _Asked) -> dict[str, Any]:
    url = model.endpoint.url
    assert url is not None  # models.toml requires one for this kind
    tags = _tags(url, asked)
    if isinstance(tags, str):
        return {"present": None, "where": tags}
    tag = next((each for each in tags if same_model(each.name, model.model)), None)
    if tag is None:
        return {"present": False, "where": f"{url} does not have it: ollama pull {model.model}"}
    return _of_tag(url, tag)


def _of_tag(url: str, tag: Tag) -> dict[str, Any]:
    try:
        licence = licence_of(url, tag.name)
    except LocalGifError:
        licence = None
    return {"present": True, "where": url, "size": tag.size, "licence": licence, "digest": tag.digest}


def _tags(url: str, asked: _Asked) -> tuple[Tag, ...] | str:
    """The models of a server, or why it cannot list them; asks each server once."""
    if url not in asked:
        try:
            asked[url] = list_models(url)
        except LocalGifError as error:
            asked[url] = error.message
    return asked[url]


def _ollama(file: ModelsFile) -> str | None:
    """The address of the Ollama whose models need no table. None if the name "ollama" belongs to a server of another
    kind, or if it is on another machine without allow_remote."""
    kinds: tuple[EndpointKind, ...] = ("ollama", "openai", "embedded")
    found = next((each for kind in kinds for each in file.endpoints(kind) if each.name == "ollama"), None)
    if found is None:
        found = EndpointSettings(name="ollama", kind="ollama", url=ollama_url())
    asked = found.kind == "ollama" and found.url is not None and (found.allow_remote or is_here(found.url))
    return found.url if asked else None


def _unnamed(url: str, asked: _Asked, covered: set[str]) -> Iterator[Row]:
    """The models of an Ollama without a table in the file."""
    tags = _tags(url, asked)
    for tag in tags if not isinstance(tags, str) else ():
        if f"{url} {canonical(tag.name)}" not in covered:
            facts = _of_tag(url, tag)
            yield Row(name=OLLAMA_PREFIX + tag.name, found="ollama", endpoint="ollama", model=tag.name, **facts)
