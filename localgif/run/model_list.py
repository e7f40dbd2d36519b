"""Which models can be named, and what is there of each: the rows of `localgif models list`, and who may play a role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from localgif.endpoint.discover import Tag, licence_of, list_models
from localgif.endpoint.ollama_request import same_model
from localgif.errors import ConfigError, LocalGifError, ModelMissing
from localgif.models.catalog import CATALOG, canonical
from localgif.models.download import file_size
from localgif.models.find import Listed, known_here
from localgif.models.toml import OLLAMA_PREFIX, OLLAMA_URL, ModelsFile
from localgif.records import Record
from localgif.run.roles import check_role, places, remote_model
from localgif.settings import EndpointKind, ModelSettings, Role

ROLES: tuple[Role, ...] = ("animator", "reflector")

#: Address of an Ollama -> what it has, or why it does not say.
Asked = dict[str, tuple[Tag, ...] | str]


class Row(Record):
    """A model that can be named. What nobody says is None."""

    name: str
    """What [roles], --animator and --reflector take; for weights without a table what `models pull` takes."""
    roles: tuple[Role, ...] = ()
    """The roles that have it now."""
    found: Literal["file", "ollama", "weights"]
    """Through what: models.toml names it, an Ollama has it and needs no table, or known weights that need a table."""
    endpoint: str
    model: str
    present: bool | None
    """None: nobody could be asked."""
    where: str
    """A file, an address, or what is wrong."""
    size: int | None = None
    """Bytes of the weights."""
    licence: str | None = None
    digest: str | None = None
    """sha256 of the weights (embedded) or of the model (Ollama), hex."""


def roster(file: ModelsFile) -> tuple[Row, ...]:
    """The models of models.toml in its order, then what its Ollamas have besides, then weights without a table.

    Nothing is downloaded and no weights are read; each server is asked once, and one that does not answer is no error.
    """
    named = {role: file.named(role) for role in ROLES}
    weights = known_here(places())
    asked: Asked = {}
    rows: list[Row] = []
    covered: set[str] = set()
    for name in dict.fromkeys([*file.aliases, *named.values()]):
        marks = tuple(role for role in ROLES if named[role] == name)
        try:
            model = file.role("animator", name)
        except ConfigError as error:
            rows.append(
                Row(name=name, roles=marks, found="file", endpoint="?", model="?", present=None, where=error.message)
            )
            continue
        rows.append(_row(name, marks, model, weights, asked))
        covered.add(f"{model.endpoint.url or ''} {canonical(model.model)}")
    ollama = _ollama(file)
    if ollama is not None:
        rows += _unnamed(ollama, asked, covered)
    rows += [_loose(listed) for listed in weights if f" {listed.name}" not in covered]
    return tuple(rows)


def may_play(model: ModelSettings) -> str:
    """A line that says that a run could use this model now, or fetch it.

    Raises:
        PreflightError: it could not; the message carries the remedy.
    """
    try:
        return check_role(model)
    except ModelMissing:
        known = CATALOG.get(canonical(model.model))
        if model.endpoint.kind != "embedded" or model.path is not None or known is None:
            raise
        return (
            f"{model.role:<10} {model.model}: its weights are not here yet; the next run fetches "
            f"{known.size / 1e6:,.0f} MB, or at once: localgif models pull {model.alias}"
        )


def _row(name: str, marks: tuple[Role, ...], model: ModelSettings, weights: list[Listed], asked: Asked) -> Row:
    base = Row(
        name=name,
        roles=marks,
        found="file",
        endpoint=model.endpoint.name,
        model=model.model,
        present=None,
        where=model.endpoint.url or "",
    )
    if model.endpoint.kind == "embedded":
        return _embedded(base, model, weights)
    if model.endpoint.kind == "ollama":
        return _of_ollama(base, model, asked)
    try:
        found = remote_model(model)
    except LocalGifError as error:
        missing = isinstance(error, ModelMissing)
        return base.model_copy(update={"present": False if missing else None, "where": error.message})
    return base.model_copy(update={"present": True, "size": found.size or None})


def _embedded(base: Row, model: ModelSettings, weights: list[Listed]) -> Row:
    if model.path is not None:
        size = file_size(Path(model.path))
        return base.model_copy(update={"present": size is not None, "where": model.path, "size": size})
    listed = next((each for each in weights if each.name == canonical(model.model)), None)
    if listed is None:
        return base.model_copy(update={"present": False, "where": "no weights of that name are known"})
    return base.model_copy(update=_facts(listed))


def _facts(listed: Listed) -> dict[str, object]:
    """What the inventory says of weights, as fields of a row."""
    if listed.path is not None:
        where = str(listed.path) + ("" if listed.checked else " (sha256 not checked yet)")
    elif listed.partial:
        where = f"{listed.partial / 1e6:,.0f} MB of it downloaded"
    else:
        where = listed.note or f"the first run that needs it fetches it, or now: localgif models pull {listed.name}"
    return {
        "present": listed.path is not None,
        "where": where,
        "size": listed.size,
        "licence": listed.licence,
        "digest": listed.digest,
    }


def _of_ollama(base: Row, model: ModelSettings, asked: Asked) -> Row:
    url = model.endpoint.url
    assert url is not None  # config refuses an endpoint of this kind without one
    there = _tags(url, asked)
    if isinstance(there, str):
        return base.model_copy(update={"where": there})
    tag = next((each for each in there if same_model(each.name, model.model)), None)
    if tag is None:
        return base.model_copy(update={"present": False, "where": f"{url} does not have it: ollama pull {model.model}"})
    return base.model_copy(update=_shown(url, tag))


def _tags(url: str, asked: Asked) -> tuple[Tag, ...] | str:
    """What a server lists, or why it does not; asked once."""
    if url not in asked:
        try:
            asked[url] = list_models(url)
        except LocalGifError as error:
            asked[url] = error.message
    return asked[url]


def _shown(url: str, tag: Tag) -> dict[str, object]:
    try:
        licence = licence_of(url, tag.name)
    except LocalGifError:
        licence = None
    return {"present": True, "where": url, "size": tag.size, "licence": licence, "digest": tag.digest}


def _ollama(file: ModelsFile) -> str | None:
    """Address of the Ollama whose models need no table; None when its name is taken by a server of another kind."""
    kinds: tuple[EndpointKind, ...] = ("ollama", "openai", "embedded")
    found = next((each for kind in kinds for each in file.endpoints(kind) if each.name == "ollama"), None)
    if found is None:
        return OLLAMA_URL
    return found.url if found.kind == "ollama" else None


def _unnamed(url: str, asked: Asked, covered: set[str]) -> Iterator[Row]:
    """The models of an Ollama that no table of the file is about."""
    there = _tags(url, asked)
    for tag in there if not isinstance(there, str) else ():
        if f"{url} {canonical(tag.name)}" not in covered:
            name = OLLAMA_PREFIX + tag.name
            row = Row(name=name, found="ollama", endpoint="ollama", model=tag.name, present=True, where=url)
            yield row.model_copy(update=_shown(url, tag))


def _loose(listed: Listed) -> Row:
    row = Row(name=listed.name, found="weights", endpoint="embedded", model=listed.name, present=False, where="")
    return row.model_copy(update=_facts(listed))
