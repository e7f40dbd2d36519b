"""What an interrupted pull leaves is continued exactly as far as it is known to be good."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgif.models.download import Partial, Refused
from tests.models.weights_kit import CONTENT, sha


def partial(tmp_path: Path, digest: str = sha(CONTENT)) -> Partial:
    return Partial(tmp_path / "w.gguf", digest, len(CONTENT))


def begun(tmp_path: Path) -> Path:
    """10,000 committed bytes and 500 that were only written."""
    with partial(tmp_path) as half:
        half.write(CONTENT[:10_000])
        half.commit()
        half.write(CONTENT[10_000:10_500])
    return half.path


def test_uncommitted_bytes_are_cut_off(tmp_path: Path) -> None:
    path = begun(tmp_path)
    assert path.stat().st_size == 10_500
    assert partial(tmp_path).kept() == 10_000
    with partial(tmp_path) as again:
        assert again.position == 10_000
        again.write(CONTENT[10_000:])
        again.commit()
    assert path.read_bytes() == CONTENT
    again.adopt()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.gguf"]


@pytest.mark.parametrize(
    "state", ["", "{", "[]", '{"version": 1}', '{"version": 1, "sha256": "%s", "bytes": "9"}', "[" * 100_000]
)
def test_a_corrupt_state_means_starting_over(tmp_path: Path, state: str) -> None:
    begun(tmp_path)
    (tmp_path / "w.gguf.partial.json").write_text(state.replace("%s", sha(CONTENT)))
    with partial(tmp_path) as again:
        assert again.position == 0
        assert again.path.stat().st_size == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [-1, 10**12])
def test_an_impossible_count_means_starting_over(tmp_path: Path, count: int) -> None:
    begun(tmp_path)
    state = tmp_path / "w.gguf.partial.json"
    state.write_text(state.read_text().replace("10000", str(count)))
    assert partial(tmp_path).kept() == 0


def test_a_file_shorter_than_its_state_means_starting_over(tmp_path: Path) -> None:
    begun(tmp_path).write_bytes(CONTENT[:9_999])
    assert partial(tmp_path).kept() == 0


def test_bytes_of_another_file_are_not_continued(tmp_path: Path) -> None:
    begun(tmp_path)
    assert partial(tmp_path, "0" * 64).kept() == 0


def test_rewinding_is_on_record_at_once(tmp_path: Path) -> None:
    with partial(tmp_path) as half:
        half.write(CONTENT[:10_000])
        half.commit()
        half.rewind(4_000)
    assert partial(tmp_path).kept() == 4_000


def test_more_bytes_than_the_file_has_are_refused(tmp_path: Path) -> None:
    with partial(tmp_path) as half, pytest.raises(Refused, match=f"expected {len(CONTENT)}"):
        half.write(CONTENT + b"!")
