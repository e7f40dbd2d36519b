"""The compiled filter says what the rules say, for every call and every argument. Our own small BPF machine runs it."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.sandbox import syscalls
from localgif.sandbox.syscalls import ALLOW, KILL_PROCESS, Condition, Instruction, NoneOf, NotAll, Null, OneOf, OnlyWith

PID = 4321
ERRNO = 0x00050000
MACHINES = list(syscalls.AUDIT_ARCH)
BOTH = pytest.mark.parametrize("write_filter", [False, True])
WORD = st.integers(0, 2**64 - 1)
#: Arguments near what the rules compare with, with and without rubbish in the upper half.
NEAR = st.tuples(
    st.sampled_from([0, 1, 2, 3, 4, 8, 10, 15, PID, os.O_CREAT, os.O_TRUNC, os.O_CLOEXEC, 0x5401, 0x5412, 1030]),
    st.sampled_from([0, 1 << 32, 0x7 << 32]),
).map(sum)
ARGUMENTS = st.lists(WORD | NEAR, min_size=6, max_size=6)


def answer(program: Sequence[Instruction], architecture: int, number: int, arguments: Sequence[int]) -> int:
    """What the kernel does with a call; struct seccomp_data is number, architecture, address, six arguments."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *arguments)
    accumulator = at = 0
    while True:
        code, jump_true, jump_false, value = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return value
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += jump_true if holds else jump_false


def holds(condition: Condition, arguments: Sequence[int]) -> bool:
    """The same, as the docstrings of the conditions say it."""
    argument = arguments[condition.argument]
    low = argument & 0xFFFFFFFF
    match condition:
        case OneOf(_, values):
            return low in values
        case NoneOf(_, bits):
            return low & bits == 0
        case NotAll(_, bits):
            return low & bits != bits
        case OnlyWith(_, bits, others):
            return low & bits == 0 or low & others != 0
        case Null(_):
            return argument == 0


@BOTH
@pytest.mark.parametrize("machine", MACHINES)
@given(data=st.data())
def test_the_filter_says_what_the_rules_say(machine: str, write_filter: bool, data: st.DataObject) -> None:
    rules = syscalls.rules_for(PID, write_filter=write_filter)
    numbers = syscalls.numbers(machine)
    name = data.draw(st.sampled_from([*rules, "prctl", "capset", "clone"]))
    if name not in numbers:
        return
    arguments = data.draw(ARGUMENTS)
    allowed = name in rules and all(holds(condition, arguments) for condition in rules[name])
    program = syscalls.compile_rules(rules, machine)
    found = answer(program, syscalls.AUDIT_ARCH[machine], numbers[name], arguments)
    assert found == (ALLOW if allowed else ERRNO | errno.EPERM)


@BOTH
@pytest.mark.parametrize("machine", MACHINES)
def test_calls_that_are_not_on_the_list_are_refused(machine: str, write_filter: bool) -> None:
    rules = syscalls.rules_for(PID, write_filter=write_filter)
    program = syscalls.compile_rules(rules, machine)
    numbers = syscalls.numbers(machine)
    listed = {numbers[name] for name in rules if name in numbers}
    found = {
        number: answer(program, syscalls.AUDIT_ARCH[machine], number, [0] * 6) for number in set(range(1024)) - listed
    }
    missing = {numbers["clone3"], numbers["openat2"]}
    assert {number for number, what in found.items() if what == ERRNO | errno.ENOSYS} == missing
    assert set(found.values()) == {ERRNO | errno.ENOSYS, ERRNO | errno.EPERM}


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    program = syscalls.compile_rules(syscalls.rules_for(PID, write_filter=False), machine)
    others = [arch for name, arch in syscalls.AUDIT_ARCH.items() if name != machine]
    for architecture in (*others, 0x40000003, 0):  # 0x40000003: int 0x80 on x86_64
        assert answer(program, architecture, syscalls.numbers(machine)["read"], [0] * 6) == KILL_PROCESS
    if machine == "x86_64":  # the x32 interface
        for number in (0x40000000, 0x40000001, 0x7FFFFFFF, -1):
            assert answer(program, syscalls.AUDIT_ARCH[machine], number, [0] * 6) == KILL_PROCESS


@BOTH
@pytest.mark.parametrize("machine", MACHINES)
def test_every_jump_lands_inside_and_every_way_ends(machine: str, write_filter: bool) -> None:
    program = syscalls.compile_rules(syscalls.rules_for(PID, write_filter=write_filter), machine)
    assert len(program) < 4096
    for at, (code, jump_true, jump_false, _) in enumerate(program):
        if code not in (0x20, 0x54, 0x06):
            assert 0 <= jump_true < 256 and 0 <= jump_false < 256
            assert at + 1 + max(jump_true, jump_false) < len(program)
    assert program[-1].code == 0x06


@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("kill", [PID, 9], True),
        ("kill", [PID + 1, 0], False),
        ("kill", [0, 9], False),
        ("kill", [2**32 - 1, 9], False),
        ("tgkill", [PID, PID, 6], True),
        ("prlimit64", [0, 7, 0, 1], True),
        ("prlimit64", [0, 7, 0x7_0000_0000, 1], False),
        ("prlimit64", [PID - 1, 7, 0, 1], False),
        ("fcntl", [3, 8, PID], False),
        ("fcntl", [3, 8 | 1 << 32, PID], False),
        ("fcntl", [3, 10, 9], False),
        ("fcntl", [3, 1030, 0], True),
        ("ioctl", [0, 0x5412, 0], False),
        ("ioctl", [0, 0x5401, 0], True),
        ("mmap", [0, 4096, 3, 2, 2**64 - 1, 0], True),
        ("mmap", [0, 4096, 1, 1, 3, 0], False),
        ("openat", [3, 0, os.O_RDWR | os.O_CREAT, 0o600], True),
        ("openat", [3, 0, 3], False),
        ("openat", [3, 0, os.O_TRUNC], False),
        ("openat", [3, 0, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600], True),
        ("open", [0, os.O_TRUNC | os.O_CREAT | 1 << 32, 0o600], False),
        ("renameat2", [3, 0, 3, 0, 0], True),
        ("renameat2", [3, 0, 3, 0, 4], False),
    ],
)
def test_arguments_decide(name: str, arguments: list[int], allowed: bool) -> None:
    program = syscalls.compile_rules(syscalls.rules_for(PID, write_filter=False), "x86_64")
    padded = [*arguments, *[0] * (6 - len(arguments))]
    found = answer(program, syscalls.AUDIT_ARCH["x86_64"], syscalls.numbers("x86_64")[name], padded)
    assert found == (ALLOW if allowed else ERRNO | errno.EPERM)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, 3, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE | os.O_RDWR])
def test_the_write_filter_opens_nothing_that_can_change(flags: int) -> None:
    program = syscalls.compile_rules(syscalls.rules_for(PID, write_filter=True), "x86_64")
    numbers = syscalls.numbers("x86_64")
    for garbage in (0, 1 << 32):
        arguments = [[0, flags | garbage, 0, 0, 0, 0], [3, 0, flags | garbage, 0, 0, 0]]
        for name, given_arguments in zip(("open", "openat"), arguments, strict=True):
            found = answer(program, syscalls.AUDIT_ARCH["x86_64"], numbers[name], given_arguments)
            assert found == ERRNO | errno.EPERM


@BOTH
@pytest.mark.parametrize("machine", MACHINES)
@given(pid=st.integers(1, 2**22))
def test_a_template_becomes_the_filter_of_any_process(machine: str, write_filter: bool, pid: int) -> None:
    made_out = syscalls.for_process(syscalls.filter_template(machine, write_filter=write_filter), pid)
    rules = syscalls.rules_for(pid, write_filter=write_filter)
    assert made_out == syscalls.pack_filter(syscalls.compile_rules(rules, machine))


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        syscalls.compile_rules(syscalls.rules_for(PID, write_filter=False), "vax")
