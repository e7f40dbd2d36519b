"""What of requirements.lock another machine needs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.bundle import Pin, Target, as_requirements, known_target, needed, read_lock, tags, this_target
from localgif.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
DIGEST = "ab" * 32


def entry(name: str, version: str, marker: str = "", hashes: int = 1) -> str:
    digests = [f"{i:064x}" for i in range(hashes)]
    return (
        f"{name}=={version}{f' ; {marker}' if marker else ''} \\\n"
        + " \\\n".join(f"    --hash=sha256:{digest}" for digest in digests)
        + "\n"
    )


def test_the_real_lock_is_read_whole() -> None:
    pins = read_lock(LOCK)
    assert len({(pin.name, pin.version) for pin in pins}) == len(pins) > 100
    assert sum(len(pin.hashes) for pin in pins) == len({part for part in LOCK.split() if part.startswith("--hash")})


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_of_the_lock_is_needed_in_one_version(python: str, machine: str) -> None:
    names = [pin.name for pin in needed(read_lock(LOCK), Target(python, machine))]
    assert len(set(names)) == len(names)
    assert {"pip", "rust-just", "hatchling", "editables", "xllamacpp", "numpy", "hf-xet"} <= set(names)
    assert not {"colorama", "httpx2-jsfetch"} & set(names), "for other systems"


def test_for_this_machine_it_is_what_is_installed_here() -> None:
    """Where an environment was made from the lock, pip judged the markers: we must come to the same."""
    names = {pin.name: pin.version for pin in needed(read_lock(LOCK), this_target())}
    here = {name: metadata.version(name) for name in ("numpy", "scipy", "contourpy", "litellm", "gepa", "pip")}
    assert {name: names[name] for name in here} == here


def test_what_a_newer_python_needs_differs() -> None:
    old, new = (needed(read_lock(LOCK), Target(python, "x86_64")) for python in ("3.11", "3.12"))
    assert {pin.name: pin.version for pin in old}["numpy"] != {pin.name: pin.version for pin in new}["numpy"]


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,12}[a-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,4}){0,3}(rc1|\.post1)?", fullmatch=True)
MARKERS = st.sampled_from(["", "sys_platform == 'linux'", "sys_platform == 'win32'", "python_full_version < '3.12'"])


@given(st.dictionaries(NAMES, st.tuples(VERSIONS, MARKERS, st.integers(1, 9)), min_size=1, max_size=20))
def test_any_lock_in_this_form_is_read_back(packages: dict[str, tuple[str, str, int]]) -> None:
    text = "# made by uv\n" + "".join(entry(name, *rest) for name, rest in packages.items())
    pins = read_lock(text)
    assert {pin.name: (pin.version, pin.marker, len(pin.hashes)) for pin in pins} == packages
    kept = needed(pins, Target("3.12", "x86_64"))
    assert {pin.name for pin in kept} == {n for n, (_, m, _) in packages.items() if "win32" not in m and "<" not in m}
    lines = as_requirements(kept).splitlines()
    assert [line.split()[0] for line in lines] == [f"{pin.name}=={pin.version}" for pin in kept]
    assert ";" not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds 0 packages"),
        ("# nothing but a comment\n", "holds 0 packages"),
        ("numpy==2.0\n", "1 packages, of which 0"),
        (entry("numpy", "2.0") + "scipy>=1 \\\n    --hash=sha256:" + DIGEST + "\n", "2 packages, of which 1"),
        (entry("numpy", "2.0").replace("0" * 8, "xyz"), "1 packages, of which 0"),
    ],
)
def test_what_is_no_lock_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_lock(text)


def test_a_marker_that_nobody_knows_is_refused_with_its_package() -> None:
    with pytest.raises(ConfigError, match="numpy"):
        needed((Pin("numpy", "2.0", "moon_phase == 'full'", frozenset({DIGEST})),), Target("3.12", "x86_64"))
    twice = tuple(Pin("numpy", version, "", frozenset({DIGEST})) for version in ("1.0", "2.0"))
    with pytest.raises(ConfigError, match="numpy twice"):
        needed(twice, Target("3.12", "x86_64"))


def test_the_tags_are_those_of_older_systems_first() -> None:
    assert tags(Target("3.12", "aarch64"), 19) == (
        "manylinux2014_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux_2_18_aarch64",
        "manylinux_2_19_aarch64",
    )
    assert tags(Target("3.12", "x86_64"), 5)[-1] == "manylinux_2_17_x86_64"


@pytest.mark.parametrize(
    ("python", "machine", "said"), [("3.10", "x86_64", "--python-version 3.10"), ("3.12", "arm64", "--platform arm64")]
)
def test_a_machine_that_localgif_does_not_run_on_is_refused(python: str, machine: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        known_target(python, machine)


def test_pip_takes_the_options_that_are_given_to_it(tmp_path: Path) -> None:
    """An index that nobody serves: pip must fail for that reason and no other."""
    from localgif.bundle import fetch_wheels
    from localgif.errors import PreflightError

    pin = Pin("localgif-no-such-package", "1.0", "", frozenset({DIGEST}))
    environment = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": "/dev/null"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}.items():
            patch.setenv(name, value)
        with pytest.raises(PreflightError, match=r"No matching distribution|could not find|did not answer"):
            fetch_wheels([pin], Target("3.12", "aarch64"), 28, tmp_path / "wheels")
    assert not (tmp_path / ".requirements").exists()


def test_wheels_that_are_there_are_kept_others_go_and_the_lacking_are_named(tmp_path: Path) -> None:
    from localgif import bundle
    from localgif.bundle import sha256_of
    from localgif.errors import PreflightError
    from tests.bundle.wheel import make_wheel

    wheels = tmp_path / "wheels"
    shelf = tmp_path / "shelf"
    for folder in (wheels, shelf):
        folder.mkdir()
    good = make_wheel(shelf, "some_thing", "1.0")
    pin = Pin("some-thing", "1.0", "", frozenset({sha256_of(good)}))
    (wheels / "stale-1.0-py3-none-any.whl").write_bytes(b"of another lock")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf), "PIP_CONFIG_FILE": "/dev/null"}.items():
            patch.setenv(name, value)
        found = bundle.fetch_wheels([pin], Target("3.12", "x86_64"), 28, wheels)
        assert [path.name for path in found] == [good.name]
        good.unlink()  # the shelf is empty now: the second time nothing is fetched
        make_wheel(shelf, "some_thing", "1.0", b"other bytes")
        with pytest.raises(PreflightError):
            bundle.fetch_wheels([Pin("absent", "2.0", "", pin.hashes)], Target("3.12", "x86_64"), 28, wheels)
