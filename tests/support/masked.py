"""A system that is not Linux, as far as localgif can tell. TESTS_MASKED=1 puts this over a whole test run.

The kernel refuses what only Linux has, to this process and to all that come from it: memfd_create, pidfd_open,
Landlock, a network of one's own, and prctl as localgif uses it. In this process, localgif's modules also see another
sys.platform, and neither /proc nor control groups. pytest, psutil and other libraries see the real system.
"""

from __future__ import annotations

import errno
import importlib.machinery
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

SWITCH = "TESTS_MASKED"
ON = bool(os.environ.get(SWITCH))
WHY = "this run pretends not to be on Linux"

#: Tests of what only Linux has: files, or single tests.
LINUX = (
    "sandbox/test_keeper.py",
    "sandbox/test_keeper_client.py",
    "sandbox/test_confine.py",
    "sandbox/test_syscalls.py",
    "test_bundle.py",
    "test_install.py",
)
#: Tests of the corpus that need no level but limits-only.
OF_THE_CORPUS = ("test_a_program_gets_what_its_header_says", "test_every_program_has_a_verdict_wherever_it_runs")
#: What limits-only does not keep on such a system (docs/security.md). Program -> the users for whom it does not.
NOT_KEPT = {
    # Leaves parent, session and environment behind. An ordinary user's program cannot start a process at all.
    "p34c_daemon_without_environment": {"root"},
    # Reads memory of the warden, which cannot close itself without prctl.
    "f08b_reads_memory_of_the_parent": {"root", "user"},
    # Root keeps its powers.
    "p48c_ignores_modes": {"root"},
    "p48d_says_what_it_may": {"root"},
}

#: What no other system has. The libraries that tests use ask first whether it is there.
_NAMES = ("memfd_create", "pidfd_open", "sched_getaffinity", "sched_setaffinity")
_FOLDERS = ("/proc", "/sys/fs/cgroup", "/sys/devices")

_LOAD, _EQUAL, _ANY_BIT, _RETURN, _ALLOW = 0x20, 0x15, 0x45, 0x06, 0x7FFF0000
_NUMBER_AT, _FIRST_AT, _SECOND_AT = 0, 16, 24
#: Death with the parent, dumpable, filters, capabilities, new privileges, ambient capabilities.
_OPTIONS = (1, 4, 22, 24, 38, 47)
_SUBREAPER, _CLONE_NEWUTS = 36, 0x04000000

#: What a command needs there that is another process: it finds only this level, and would refuse it.
ACCEPTING = ("--sandbox-level", "limits-only") if ON else ()

#: Tests of a level that is refused (outside of tests/sandbox a masked run accepts every level), or that needs a keeper.
LEVELS = (
    "test_nothing_is_started_on_a_machine_that_is_too_weak",
    "test_a_run_folder_cannot_lower_the_sandbox_level",
    "test_a_weak_machine_runs_nothing_until_it_is_accepted",
    "test_a_layer_that_does_nothing_is_found_out",
    "test_a_profile_that_holds_gives_the_level",
    "test_a_start_that_takes_too_long_is_our_failure",
    "test_the_limits_are_in_force",
    "test_a_weak_level_that_was_accepted_is_used_and_recorded",
    "test_the_confined_process_loads_little_of_ours",
    "test_with_the_write_filter_a_program_can_write_its_output_in_every_way",
    "test_programs_go_before_the_keeper_when_memory_runs_out",
    "test_a_layer_that_only_the_keeper_has_is_never_left_out",
    # The app that they kill is another process, which sees /proc and so has other names for its folders.
    "test_everything_ends_with_the_app_although_the_kernel_does_not_help",
    "test_the_next_start_sweeps_what_outlived_app_and_wardens",
)


def skips(file: str, test: str) -> bool:
    """Whether a masked run skips a test."""
    return file in LINUX or test in LEVELS or (file == "sandbox/test_corpus.py" and test not in OF_THE_CORPUS)


class _Sys:
    """The module sys, on another platform."""

    platform = "darwin"

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def put_on() -> None:
    """Masks this process, once and for good."""
    plain = importlib.machinery.SourceFileLoader.exec_module
    masked = _Sys()

    def exec_module(loader: importlib.machinery.SourceFileLoader, module: ModuleType) -> None:
        plain(loader, module)
        if module.__name__.partition(".")[0] == "localgif":
            for name, value in vars(module).copy().items():
                if value is sys:
                    setattr(module, name, masked)
                elif isinstance(value, Path) and str(value).startswith(_FOLDERS):
                    setattr(module, name, Path("/masked") / value.relative_to("/"))

    importlib.machinery.SourceFileLoader.exec_module = exec_module  # type: ignore[method-assign, assignment]
    for name in _NAMES:
        if hasattr(os, name):
            delattr(os, name)
    _refuse()


def _refuse() -> None:
    """Loads the filter. In tests a process may adopt orphans with another number than localgif uses (stage.py)."""
    from localgif.sandbox.syscalls import MACHINE, PR_SET_NO_NEW_PRIVS, Instruction, load_filter, pack_filter, prctl

    memfd, prctl_number, unshare = {"x86_64": (319, 157, 272), "aarch64": (279, 167, 97)}[MACHINE]
    refused = Instruction(_RETURN, 0, 0, 0x00050000 | errno.ENOSYS)
    allowed = Instruction(_RETURN, 0, 0, _ALLOW)

    def equal(*values: int) -> list[Instruction]:
        return [step for value in values for step in (Instruction(_EQUAL, 0, 1, value), refused)]

    new_network = [Instruction(_LOAD, 0, 0, _FIRST_AT), Instruction(_ANY_BIT, 0, 1, _CLONE_NEWUTS), refused, allowed]
    subreaper = [Instruction(_LOAD, 0, 0, _SECOND_AT), *equal(1), allowed]
    program = [
        Instruction(_LOAD, 0, 0, _NUMBER_AT),
        *equal(memfd, 434, 444, 445, 446),
        Instruction(_EQUAL, 0, len(new_network), unshare),
        *new_network,
        Instruction(_EQUAL, 1, 0, prctl_number),
        allowed,
        Instruction(_LOAD, 0, 0, _FIRST_AT),
        *equal(*_OPTIONS),
        Instruction(_EQUAL, 0, len(subreaper), _SUBREAPER),
        *subreaper,
        allowed,
    ]
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    except OSError:  # the process that started this one has loaded it
        return
    load_filter(pack_filter(program))
