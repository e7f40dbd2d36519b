"""models.toml: every mistake is named with its file, its key and its remedy; one line changes at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.errors import ConfigError
from localgif.models.toml import (
    ModelsFile,
    ModelsToml,
    built_in,
    load_models_file,
    make_settings,
    models_file,
    read_models,
    runs_folder,
    with_role,
)
from localgif.offline import api_key
from scripts.generate import schemas

ROOT = Path(__file__).parent.parent.parent

GOOD = """
[roles]
animator = "small"
reflector = "big"
[endpoints.embedded]
kind = "embedded"
[endpoints.ollama]
kind = "ollama"
url = "http://127.0.0.1:11434/"
[models.small]
endpoint = "embedded"
model = "smollm2:135m"
[models.big]
endpoint = "ollama"
model = "llama3.2:3b"
temperature = 0.9
num_ctx = 4096
"""


def file_of(text: str) -> ModelsFile:
    return read_models(Path("models.toml"), text)


def test_a_good_file_gives_both_roles() -> None:
    file = file_of(GOOD)
    small, big = file.role("animator"), file.role("reflector")
    assert (small.model, small.temperature, small.num_ctx) == ("smollm2:135m", 0.2, 8192)
    assert (big.temperature, big.num_ctx, big.endpoint.url) == (0.9, 4096, "http://127.0.0.1:11434")
    assert (small.endpoint.kind, big.litellm) == ("embedded", "ollama/llama3.2:3b")
    assert file.role("reflector", "small").temperature == 0.7


FAR = GOOD.replace("http://127.0.0.1:11434/", "http://gpu-box:11434")


def test_another_machine_is_asked_only_where_the_file_allows_it() -> None:
    with pytest.raises(ConfigError) as caught:
        file_of(FAR).role("reflector")
    assert "[endpoints.ollama] url = http://gpu-box:11434 is not on this machine" in caught.value.message
    assert "allow_remote = true" in caught.value.remedy and "127.0.0.1" in caught.value.remedy
    assert file_of(FAR).role("animator", "small").endpoint.kind == "embedded"
    allowed = file_of(FAR.replace("11434", '11434"\nallow_remote = true # "'))
    assert allowed.role("reflector").endpoint.allow_remote
    assert allowed.elsewhere == ("http://gpu-box:11434",)
    assert file_of(FAR).elsewhere == (), "what is not allowed is not reached either"


@pytest.mark.parametrize(("line", "offline"), [("", None), ("offline = true", True), ("offline = false", False)])
def test_offline_has_three_states(line: str, offline: bool | None) -> None:
    file = file_of(f"{line}\n{GOOD}")
    assert file.offline is offline
    assert file.role("reflector").endpoint.cloud is (offline is False)


@pytest.mark.parametrize("value", ['"yes"', "1", "[]"])
def test_offline_is_true_or_false(value: str) -> None:
    with pytest.raises(ConfigError, match="offline = "):
        file_of(f"offline = {value}\n{GOOD}")


def test_vision_is_off_unless_the_file_says_so() -> None:
    assert not file_of(GOOD).role("reflector").vision
    seeing = file_of(GOOD + "vision = true\n")
    assert seeing.role("reflector").vision and not seeing.role("animator").vision
    assert seeing.role("animator", "big").vision, "one table may serve both roles"


def test_the_shipped_file_is_good() -> None:
    file = load_models_file(ROOT / "models.toml")
    for alias in file.aliases:
        file.role("animator", alias)
    assert file.role("animator").model == file.role("reflector").model == "qwen2.5-coder:1.5b"


def test_every_commented_entry_of_the_shipped_file_is_ready_to_be_used() -> None:
    shipped = (ROOT / "models.toml").read_text()
    whole = re.sub(r"^#(?=[\[\w])", "", shipped, flags=re.MULTILINE)
    file = read_models(ROOT / "models.toml", whole)
    models = {file.role("reflector", alias).model for alias in file.aliases}
    assert {"qwen2.5-coder:7b", "llama3.2:3b", "qwen3:8b", "qwen2.5vl:3b", "my-coder:7b"} <= models
    assert {file.role("reflector", alias).endpoint.kind for alias in file.aliases} == {"embedded", "ollama", "openai"}
    assert len({file.role("reflector", alias).endpoint.url for alias in file.aliases}) == 4
    assert file.role("reflector", "seeing").vision


def test_every_example_of_the_page_about_models_loads() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    shipped = (ROOT / "models.toml").read_text()
    assert len(examples) >= 5
    for example in examples:
        # The tables of an example extend or replace the tables of the shipped file.
        headers = set(re.findall(r"^\[.*\]$", example, re.MULTILINE))
        others = [table for table in re.split(r"(?=^\[)", shipped, flags=re.MULTILINE) if table[:1] == "["]
        rest = [table for table in others if table.splitlines()[0] not in headers]
        file = read_models(ROOT / "models.toml", example + "\n" + "".join(rest))
        for name in [None, *re.findall(r"^\[models\.(.*)\]$", example, re.MULTILINE)]:
            file.role("animator", name), file.role("reflector", name)


def test_the_page_about_models_has_a_row_for_each_key_and_each_is_described() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    schema = ModelsToml.model_json_schema()
    assert all("description" in key for key in schema["properties"].values() if "$ref" not in key)
    for table in schema["$defs"].values():
        for name, key in table["properties"].items():
            assert f"`{name}`" in page
            assert key["description"]


def test_the_schema_for_editors_is_current() -> None:
    for file, text in schemas().items():
        assert file.read_text() == text, f"{file.name} is out of date; run: ./scripts/just fix"
    first = (ROOT / "models.toml").read_text().splitlines()[0]
    assert (ROOT / first.removeprefix("#:schema ")).is_file()


@pytest.mark.parametrize(
    ("change", "message", "remedy"),
    [
        (('kind = "embedded"', 'kind = "embeded"'), "[endpoints.embedded] kind = 'embeded'", "correct"),
        (('kind = "embedded"', 'kind = "openai"'), "[endpoints.embedded] has no url", "http://127.0.0.1:8000/v1"),
        (('kind = "ollama"', 'kind = "openai"\napi_key_envv = "K"'), "unknown key", 'did you mean "api_key_env"?'),
        (
            ('url = "http://127.0.0.1:11434/"', 'url = ["http://127.0.0.1:1", "http://127.0.0.1:2"]'),
            "[endpoints.ollama] url = ['http://127.0.0.1:1', 'http://127.0.0.1:2']: must be one address, not a list",
            "a reverse proxy such as nginx or HAProxy",
        ),
        (('kind = "ollama"', 'kind = "ollama"\napi_key_env = "K"'), "is for an endpoint of kind openai", "remove"),
        (('kind = "ollama"', 'kind = "ollama"\napi_key_env = ""'), "[endpoints.ollama] api_key_env = ''", "correct"),
        (("num_ctx = 4096", "num_ctxx = 4096"), "unknown key [models.big] num_ctxx", 'did you mean "num_ctx"?'),
        (("num_ctx = 4096", 'num_ctx = "4096"'), "[models.big] num_ctx = '4096'", "correct"),
        (("num_ctx = 4096", "num_ctx = 64"), "[models.big] num_ctx = 64", "correct"),
        (("num_ctx = 4096", "num_ctx = 1024"), "num_predict (1024) leaves no room", "raise num_ctx"),
        (("temperature = 0.9", "temperature = 3.0"), "[models.big] temperature = 3.0", "correct"),
        (('reflector = "big"', ""), "[roles] reflector is missing", 'reflector = "NAME" under [roles]'),
        (("[roles]", "[rolls]"), "unknown key rolls (and 1 more)", 'did you mean "roles"?'),
        (("num_ctx = 4096", 'path = "x.gguf"'), "[models.big] path is called gguf now", "write gguf = "),
        (("num_ctx = 4096", 'gguf = "x.gguf"'), "[models.big] gguf is a file, but the endpoint", "kind embedded"),
        (('animator = "small"', 'animator = "ollama:"'), '"ollama:" names no model', "ollama:llama3.2:3b"),
        (("[models.small]", "[models]\nsmall = 3\n[models.other]"), "[models.small] = 3: must be a table", "correct"),
        (('animator = "small"', 'animator = "smal"'), '[roles] animator names the model "smal"', 'mean "small"?'),
        (('endpoint = "ollama"', 'endpoint = "olama"'), 'endpoint names "olama"', 'did you mean "ollama"?'),
        (("http://127.0.0.1:11434/", "localhost"), "must be a URL such as", "correct"),
        (('model = "smollm2:135m"', 'model = ""'), "[models.small] model = ''", "correct"),
        (("temperature = 0.9", 'litellm = "openai/gpt"'), 'must begin with "ollama/"', "correct"),
        (("temperature = 0.9", 'vision = "yes"'), "[models.big] vision = 'yes'", "correct"),
        (
            ('model = "smollm2:135m"', 'model = "smollm2:135m"\nvision = true'),
            "[models.small] vision = true",
            'kind "ollama"',
        ),
    ],
)
def test_a_mistake_is_named_with_file_key_and_remedy(change: tuple[str, str], message: str, remedy: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as caught:
        file = file_of(GOOD.replace(*change))
        file.role("animator"), file.role("reflector")
    assert caught.value.message.startswith("models.toml") and message in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:11434", "http://secret@10.0.0.2", "ftp://a:secret@b"])
def test_a_password_in_an_address_is_refused_and_not_shown(url: str) -> None:
    text = f'{ROLES}[endpoints.ollama]\nkind = "ollama"\nurl = "{url}"\nallow_remote = true\n'
    with pytest.raises(ConfigError) as caught:
        file_of(text).role("animator")
    said = f"{caught.value.message} {caught.value.remedy}"
    assert "[endpoints.ollama] url" in said and "a password" in said and "secret" not in said


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("", "models.toml: [roles] is missing", "[roles] with animator"),
        (GOOD.replace('"llama3.2:3b"', '"llama3.2:3b'), "(at line 15, column", "correct that line"),
        ("a = " + "[" * 9_000, "models.toml is nested too deeply", "brackets"),
    ],
)
def test_a_text_that_cannot_be_read_at_all(text: str, message: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        file_of(text)
    assert message in caught.value.message and remedy in caught.value.remedy


ROLES = '[roles]\nanimator = "ollama:qwen2.5-coder:7b"\nreflector = "ollama:llama3.2:3b"\n'


def test_any_model_of_an_ollama_needs_no_table() -> None:
    file = file_of(ROLES)
    animator, reflector = file.role("animator"), file.role("reflector")
    assert (animator.model, reflector.model) == ("qwen2.5-coder:7b", "llama3.2:3b")
    assert (animator.endpoint.kind, animator.endpoint.url) == ("ollama", "http://127.0.0.1:11434")
    assert (animator.num_ctx, animator.temperature, reflector.temperature) == (8192, 0.2, 0.7)
    assert file.role("animator", "ollama:smollm2").model == "smollm2"
    there = '[endpoints.ollama]\nkind = "ollama"\nurl = "http://10.0.0.2:11434"\nallow_remote = true\n'
    assert file_of(ROLES + there).role("animator").endpoint.url == "http://10.0.0.2:11434"


NAMES_ROLES = '[roles]\nanimator = "x:1b"\nreflector = "x:1b"\n'
TWO = (
    '[endpoints.far]\nkind = "ollama"\nurl = "http://127.0.0.1:9"\n'
    '[models.one]\nendpoint = "far"\nmodel = "y:1b"\n[models.two]\nendpoint = "far"\nmodel = "y:1b"\nnum_ctx = 2048\n'
)


@pytest.mark.parametrize(
    ("name", "alias", "model", "kind"),
    [
        ("big", "big", "llama3.2:3b", "ollama"),
        ("qwen2.5-coder:7b", "ollama:qwen2.5-coder:7b", "qwen2.5-coder:7b", "ollama"),
        ("ollama/qwen2.5-coder:7b", "ollama:qwen2.5-coder:7b", "qwen2.5-coder:7b", "ollama"),
        ("ollama_chat/qwen2.5-coder:7b", "ollama:qwen2.5-coder:7b", "qwen2.5-coder:7b", "ollama"),
        ("ollama:qwen2.5-coder:7b", "ollama:qwen2.5-coder:7b", "qwen2.5-coder:7b", "ollama"),
        (
            "hf.co/some/Model-GGUF:Q4_K_M",
            "ollama:hf.co/some/Model-GGUF:Q4_K_M",
            "hf.co/some/Model-GGUF:Q4_K_M",
            "ollama",
        ),
        ("llama3.2", "ollama:llama3.2", "llama3.2", "ollama"),
        ("llama3.2:3b", "big", "llama3.2:3b", "ollama"),
        ("SmolLM2:135m", "small", "smollm2:135m", "embedded"),
        ("qwen2.5-coder:1.5b", "qwen2.5-coder:1.5b", "qwen2.5-coder:1.5b", "embedded"),
        ("ollama:smollm2:135m", "ollama:smollm2:135m", "smollm2:135m", "ollama"),
    ],
)
def test_a_model_is_named_as_people_name_it(name: str, alias: str, model: str, kind: str) -> None:
    found = file_of(GOOD).role("animator", name)
    assert (found.alias, found.model, found.endpoint.kind) == (alias, model, kind)
    again = file_of(GOOD).role("animator", found.alias)
    assert again == found, "a stored run finds its model again"


def test_a_name_needs_neither_a_table_nor_an_endpoint() -> None:
    file = file_of(NAMES_ROLES)
    assert file.role("animator").endpoint.url == "http://127.0.0.1:11434"
    assert file.role("animator", "smollm2:135m").endpoint.kind == "embedded"


def test_what_two_endpoints_may_have_is_told_with_both_forms() -> None:
    assert file_of(GOOD).meaning("smollm2:135m") == (
        '"smollm2:135m" means the embedded model ("small" in models.toml); '
        '"ollama:smollm2:135m" means the model of an Ollama'
    )
    assert [file_of(GOOD).meaning(name) for name in ("small", "qwen3:8b", "ollama:smollm2:135m")] == ["", "", ""]


def test_a_name_that_several_tables_have_is_refused_with_each() -> None:
    with pytest.raises(
        ConfigError, match=r'names the model "y:1b", which several tables .* have: "one" .*, "two"'
    ) as e:
        file_of(GOOD + TWO).role("animator", "y:1b")
    assert e.value.remedy == "name the table: one or two"
    assert file_of(GOOD + TWO).role("animator", "ollama:y:1b").endpoint.name == "ollama"


def test_an_ollama_without_an_address_is_where_ollama_host_says(monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace('url = "http://127.0.0.1:11434/"\n', "")
    assert file_of(text).role("reflector").endpoint.url == "http://127.0.0.1:11434"
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:8080")
    for file in (file_of(text), file_of(ROLES)):
        assert file.role("reflector").endpoint.url == "http://127.0.0.1:8080"
    assert file_of(GOOD).role("reflector").endpoint.url == "http://127.0.0.1:11434", "the file goes first"
    monkeypatch.setenv("OLLAMA_HOST", "gpu-box")
    with pytest.raises(ConfigError, match=r"OLLAMA_HOST means http://gpu-box:11434, which is not on") as caught:
        file_of(text).role("reflector")
    assert caught.value.code == "E-CONFIG-REMOTE" and "allow_remote = true" in caught.value.remedy
    allowed = file_of(text.replace('kind = "ollama"', 'kind = "ollama"\nallow_remote = true'))
    assert allowed.role("reflector").endpoint.url == allowed.elsewhere[0] == "http://gpu-box:11434"


def test_a_table_of_that_name_goes_first() -> None:
    own = '[models."ollama:llama3.2:3b"]\nendpoint = "ollama"\nmodel = "llama3.2:3b"\nnum_ctx = 2048\n'
    file = file_of(ROLES + '[endpoints.ollama]\nkind = "ollama"\nurl = "http://127.0.0.1:1"\n' + own)
    assert file.role("reflector").num_ctx == 2048


def test_an_endpoint_called_ollama_of_another_kind_is_refused_for_such_a_name() -> None:
    file = file_of(ROLES + '[endpoints.ollama]\nkind = "openai"\nurl = "http://127.0.0.1:8000/v1"\n')
    with pytest.raises(ConfigError, match=r'but \[endpoints\.ollama\] has the kind "openai"') as caught:
        file.role("animator")
    assert '[models."qwen2.5-coder:7b"]' in caught.value.remedy


@pytest.mark.parametrize(
    ("gguf", "path"),
    [
        ("weights/own.gguf", "/etc/weights/own.gguf"),
        ("/data/own.gguf", "/data/own.gguf"),
        ("~/own.gguf", str(Path.home() / "own.gguf")),
    ],
)
def test_a_gguf_lies_beside_the_file_unless_its_path_is_absolute(gguf: str, path: str) -> None:
    text = GOOD.replace('model = "smollm2:135m"', f'model = "own:1b"\ngguf = "{gguf}"')
    assert read_models(Path("/etc/models.toml"), text).role("animator").path == path


@pytest.mark.parametrize(
    ("data", "message"), [(None, "does not exist"), (b"\xff\xfe", "is not UTF-8"), (b"#" * (2**20 + 1), "larger than")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "models.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        load_models_file(path)
    assert str(path) in caught.value.message and caught.value.code == "E-CONFIG-FILE"


def test_a_key_is_in_a_variable_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"endpoints\.x\.api_key_env names the variable MY_KEY") as caught:
        api_key("MY_KEY", "endpoints.x.api_key_env")
    assert "export MY_KEY=" in caught.value.remedy
    monkeypatch.setenv("MY_KEY", " secret\n")
    assert (api_key("MY_KEY", "x"), api_key(None, "x")) == ("secret", "")
    text = GOOD.replace('kind = "ollama"', 'kind = "openai"\napi_key_env = "MY_KEY"').replace(":11434/", ":8000/v1")
    settings = make_settings(file_of(text))
    endpoint = settings.reflector.endpoint
    assert (endpoint.kind, endpoint.url, endpoint.api_key_env) == ("openai", "http://127.0.0.1:8000/v1", "MY_KEY")
    assert "secret" not in settings.model_dump_json()


SHAPES = [
    '[roles]\n  animator = "a" # one\n  reflector = "b"\n',
    "[roles]\r\nreflector = 'b'\r\n# animator = \"z\"\r\nanimator='a'\t#one\r\n",
    'roles.animator = "a"\nroles.reflector = "b" # two\n',
    'roles = {animator = "a", reflector = "b"} # both\n',
    '"roles"."animator" = "a"\n"roles".reflector = """b"""\n',
    '[ roles ]\n"animator" = "a"\nreflector = "b"',
]
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(st.sampled_from(SHAPES), st.sampled_from(["", "# top\n\n", "[models.x] # x\nendpoint='e'\nmodel='m'\n"]), NAMES)
def test_whatever_the_file_looks_like_only_that_value_changes(shape: str, above: str, name: str) -> None:
    if above.startswith("[") and shape.startswith(("roles", '"roles"')):
        return  # it would be models.x.roles
    text = above + shape
    change = with_role(read_models(Path("models.toml"), text), "animator", name)
    wanted = tomllib.loads(text)
    wanted["roles"]["animator"] = name
    assert tomllib.loads(change.text) == wanted
    old, new = text.split("\n"), change.text.split("\n")
    assert len(old) == len(new)
    assert sum(before != after for before, after in zip(old, new, strict=True)) == (name != "a")


def test_the_shipped_file_keeps_its_comments() -> None:
    file = load_models_file(ROOT / "models.toml")
    change = with_role(file, "reflector", "qwen-coder-0.5b")
    assert change.text == file.text.replace('reflector = "qwen-coder-1.5b"', 'reflector = "qwen-coder-0.5b"')
    assert change.before.startswith('reflector = "qwen-coder-1.5b"   # reads why')


def test_an_address_with_tls_says_which_variable_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/gone")
    read_models(Path("models.toml"), GOOD).role("reflector")
    text = GOOD.replace('"http://127.0.0.1:11434/"', '"https://127.0.0.1:11434"')
    assert text != GOOD
    with pytest.raises(ConfigError, match="the variable SSL_CERT_FILE names none") as caught:
        read_models(Path("models.toml"), text).role("reflector")
    assert "unset SSL_CERT_FILE" in caught.value.remedy


# --- where the file is ------------------------------------------------------------------------------------------------


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user who is in its folder work/inner."""
    inner = tmp_path / "work" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(inner)
    return tmp_path


def test_each_place_goes_before_the_next(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (models_file(), runs_folder()) == (built_in(), Path("runs"))
    settings = user / ".config" / "localgif"
    settings.mkdir(parents=True)
    (settings / "models.toml").touch()
    assert (models_file(), runs_folder()) == (settings / "models.toml", Path("runs"))
    (user / "work" / "models.toml").touch()
    assert (models_file(), runs_folder()) == (user / "work" / "models.toml", user / "work" / "runs")
    Path("models.toml").touch()
    assert (models_file(), runs_folder()) == (Path("models.toml"), Path("runs"))
    (user / "named.toml").touch()
    monkeypatch.setenv("LOCALGIF_MODELS", "~/named.toml")
    assert (models_file(), runs_folder()) == (user / "named.toml", Path("runs"))


def test_a_variable_that_names_nothing_is_an_error(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALGIF_MODELS", str(user / "gone.toml"))
    with pytest.raises(ConfigError, match=r"LOCALGIF_MODELS names .*gone\.toml, which does not exist"):
        models_file()


def test_a_file_of_somebody_else_above_does_not_count(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (user / "work" / "models.toml").touch()
    owner = (user / "work" / "models.toml").stat().st_uid
    assert models_file() == user / "work" / "models.toml"
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    if owner != 0:
        assert models_file() == built_in()
    else:  # what root owns counts for everybody
        assert models_file() == user / "work" / "models.toml"


def test_a_folder_that_was_removed_has_the_built_in_file(user: Path) -> None:
    Path.cwd().rmdir()
    assert models_file() == built_in()


def test_the_wheel_brings_the_file_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"models.toml": "localgif/models.toml"}
    assert built_in() == ROOT / "models.toml", "in a checkout there is one file, not a copy"
    assert load_models_file(built_in()).named("animator") == "qwen-coder-1.5b"


@pytest.mark.slow
def test_an_installed_localgif_works_in_an_empty_folder(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(empty)}
    for name in ("LOCALGIF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    words = [sys.executable, "-m", "localgif", "models", "list"]
    done = subprocess.run(words, cwd=empty, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"in {site}/localgif/models.toml (built-in"), "and not the file of this checkout"
    assert (site / "localgif" / "models.toml").read_bytes() == (ROOT / "models.toml").read_bytes()
