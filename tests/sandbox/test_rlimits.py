"""The kernel's resource limits follow ours."""

from __future__ import annotations

import resource

import pytest

from localgif.records import Limits
from localgif.sandbox import rlimits

LIMITS = Limits()


def table(root: bool, used: float = 0.0, **changes: float) -> rlimits.Rlimits:
    return rlimits.table({**LIMITS.model_dump(), **changes}, file_size=7, root=root, used=used)


def test_the_kernels_limits_follow_ours() -> None:
    found = table(root=False)
    assert found["CPU"] == (4, 5)
    assert found["AS"] == (LIMITS.address_space, LIMITS.address_space)
    assert (found["FSIZE"], found["NPROC"], found["CORE"]) == ((7, 7), (0, 0), (1, 1))
    assert table(root=True, cpu_seconds=0.5)["CPU"] == (1, 2)


def test_what_a_process_used_before_its_job_does_not_count() -> None:
    assert table(root=False, used=2.5)["CPU"] == (7, 8)


def test_the_process_limit_is_set_only_where_it_works() -> None:
    assert "NPROC" not in table(root=True)
    assert "NPROC" not in table(root=False, processes=2)


def test_every_limit_has_a_name_that_the_kernel_knows() -> None:
    assert [name for name in table(root=False) if not hasattr(resource, f"RLIMIT_{name}")] == []


def test_a_limit_that_does_not_take_effect_is_named_and_the_others_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {
        number: resource.getrlimit(number) for number in (resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_CPU)
    }

    def set_limit(number: int, values: tuple[int, int]) -> None:
        if number == resource.RLIMIT_AS:
            raise ValueError("invalid argument")  # as macOS does
        if number != resource.RLIMIT_CPU:  # this one is silently ignored
            now[number] = values

    monkeypatch.setattr(resource, "setrlimit", set_limit)
    monkeypatch.setattr(resource, "getrlimit", lambda number: now[number])
    unknown = {"NO_SUCH_LIMIT": (1, 1)}
    assert rlimits.apply({"AS": (1, 1), "CPU": (3, 4), "CORE": (0, 0), **unknown}) == ["AS", "CPU"]
    assert now[resource.RLIMIT_CORE] == (0, 0)
