"""The kernel's resource limits follow ours."""

from __future__ import annotations

import resource

from localgif.records import Limits
from localgif.sandbox.confine import Rlimits, rlimits

LIMITS = Limits()


def table(root: bool, **changes: float) -> Rlimits:
    return rlimits({**LIMITS.model_dump(), **changes}, file_size=7, root=root)


def test_the_kernels_limits_follow_ours() -> None:
    found = table(root=False)
    assert found["CPU"] == (4, 5)
    assert found["AS"] == (LIMITS.address_space, LIMITS.address_space)
    assert (found["FSIZE"], found["NPROC"], found["CORE"]) == ((7, 7), (0, 0), (1, 1))
    assert table(root=True, cpu_seconds=0.5)["CPU"] == (1, 2)


def test_the_process_limit_is_set_only_where_it_works() -> None:
    assert "NPROC" not in table(root=True)
    assert "NPROC" not in table(root=False, processes=2)


def test_every_limit_has_a_name_that_the_kernel_knows() -> None:
    assert [name for name in table(root=False) if not hasattr(resource, f"RLIMIT_{name}")] == []
