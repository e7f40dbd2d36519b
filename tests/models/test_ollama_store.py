"""Names in a store of Ollama are found in any spelling, and what is odd about one is said, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.models import find
from localgif.models.download import Refused
from tests.models.weights_kit import CONTENT, sha, store_blob, store_manifest

LIBRARY = "registry.ollama.ai/library"


def test_names_of_every_kind_are_listed(tmp_path: Path) -> None:
    for name in (
        f"{LIBRARY}/tiny/1m",
        f"{LIBRARY}/tiny/latest",
        "registry.ollama.ai/Me/Mine/v1",
        "hf.co/Qwen/Q/Q4_K_M",
    ):
        store_manifest(tmp_path, name, "0" * 64, 1)
    (tmp_path / "manifests" / LIBRARY / ".DS_Store").write_bytes(b"")
    (tmp_path / "manifests" / "stray").write_bytes(b"")
    found = find.read_stores([tmp_path, tmp_path / "none"])
    assert sorted(found.manifests) == ["hf.co/qwen/q:q4_k_m", "me/mine:v1", "tiny:1m", "tiny:latest"]
    assert found.problems == ()


def test_the_newer_folder_of_names_is_read_too(tmp_path: Path) -> None:
    old = store_manifest(tmp_path, f"{LIBRARY}/tiny/1m", "0" * 64, 1)
    new = tmp_path / "manifests-v2" / "ollama.com" / "library" / "tiny" / "1m"
    new.parent.mkdir(parents=True)
    blob = store_blob(tmp_path, old.read_text().replace("0" * 64, "1" * 64).encode())
    new.symlink_to(blob)
    found = find.read_stores([tmp_path]).manifests
    assert list(found) == ["tiny:1m"]
    assert find.read(found["tiny:1m"]).digest == "1" * 64


def test_a_store_that_may_not_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, who may read everything: the kernel's answer is played.
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("localgif.models.find.os.scandir", refuse)
    found = find.read_stores([tmp_path])
    assert not found.manifests
    assert any("Permission denied" in problem for problem in found.problems)


def test_the_title_comes_from_the_configuration(tmp_path: Path) -> None:
    config = store_blob(tmp_path, b'{"model_family": "qwen2", "model_type": "1.5B", "file_type": "Q4_K_M"}')
    digest = config.name.replace("-", ":")
    store_manifest(tmp_path, f"{LIBRARY}/tiny/1m", sha(CONTENT), len(CONTENT), config={"digest": digest})
    stored = find.read(find.read_stores([tmp_path]).manifests["tiny:1m"])
    assert (stored.title, stored.size, stored.blob) == (
        "qwen2 1.5B Q4_K_M",
        len(CONTENT),
        tmp_path / "blobs" / f"sha256-{sha(CONTENT)}",
    )
    config.write_bytes(b"rubbish")
    assert find.read(find.read_stores([tmp_path]).manifests["tiny:1m"]).title == "tiny:1m"


_WEIGHTS = '{"mediaType": "application/vnd.ollama.image.model", "digest": "%s"}'
_ADAPTER = '{"mediaType": "application/vnd.ollama.image.adapter"}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "names 0 files of weights"),
        ('{"layers": 7}', "names 0 files of weights"),
        ('{"layers": [1, null, {}]}', "names 0 files of weights"),
        (f'{{"layers": [{_WEIGHTS % "sha256:12"}]}}', "something else than a sha256"),
        (f'{{"layers": [{_WEIGHTS % ("sha256:../../" + "0" * 58)}]}}', "something else than a sha256"),
        (f'{{"layers": [{_WEIGHTS % 1}, {_WEIGHTS % 2}]}}', "names 2 files of weights"),
        (
            f'{{"layers": [{_WEIGHTS % ("sha256:" + "0" * 64)}, {_ADAPTER}]}}',
            "adapter",
        ),
    ],
)
def test_odd_manifests_are_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    store_manifest(tmp_path, f"{LIBRARY}/tiny/1m", "0" * 64, 1).write_text(text)
    with pytest.raises(Refused, match=reason) as refusal:
        find.read(find.read_stores([tmp_path]).manifests["tiny:1m"])
    assert "tiny" in str(refusal.value)
