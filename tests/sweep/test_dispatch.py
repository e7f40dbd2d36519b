"""Every cell gets one end, whatever workers do; who gives cells out holds to what workers have and can bear."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from localgif.sweep.dispatch import MOST_LOSSES, TRIES, Board, Hand, Need

PLAIN = Need(frozenset({"animator a"}), embedded=False)


def hand(name: str, threads: int = 1, host: str = "", **rest: object) -> Hand:
    return Hand(f"tcp://{name}", name, host or name, threads, **rest)  # type: ignore[arg-type]


def given_out(board: Board) -> list[tuple[str, str]]:
    found = []
    while (given := board.give()) is not None:
        found.append((given[0], given[1].name))
    return found


def test_cells_go_out_in_order_and_are_spread() -> None:
    board = Board(dict.fromkeys("abcde", PLAIN))
    assert given_out(board) == []
    for one in (hand("x", 2), hand("y", 1)):
        board.joins(one)
    assert given_out(board) == [("a", "x"), ("b", "y"), ("c", "x")]
    board.done("b")
    assert given_out(board) == [("d", "y")]
    assert board.waiting == ("e",)


def test_a_cell_goes_where_its_model_is() -> None:
    big = Need(frozenset({"animator big", "reflector a"}), embedded=False)
    board = Board({"a": big, "b": PLAIN, "c": big})
    board.joins(hand("x", 4, lacks={"animator big": "no such model"}))
    assert given_out(board) == [("b", "x")]
    assert board.reasons("a") == "x: no such model"
    board.joins(hand("y"))
    assert board.reasons("a") == ""
    assert given_out(board) == [("a", "y")]
    assert board.reasons("c") == ""  # y has it, later


def test_one_embedded_engine_a_machine() -> None:
    board = Board(dict.fromkeys("abc", Need(frozenset(), embedded=True)))
    for one in (hand("x1", 4, "x"), hand("x2", 4, "x"), hand("y", 4)):
        board.joins(one)
    assert given_out(board) == [("a", "x1"), ("b", "y")]
    board.done("a")
    assert given_out(board) == [("c", "x1")]


def test_a_failed_cell_is_tried_once_more_at_the_end_and_elsewhere() -> None:
    board = Board(dict.fromkeys("ab", PLAIN))
    board.joins(hand("x"))
    board.joins(hand("y"))
    assert given_out(board) == [("a", "x"), ("b", "y")]
    assert board.failed("a")
    board.done("b")
    assert given_out(board) == [("a", "y")]
    assert not board.failed("a")
    assert (board.waiting, board.running) == ((), {})


def test_a_doubted_or_refused_worker_gets_nothing() -> None:
    board = Board(dict.fromkeys("ab", PLAIN))
    board.joins(hand("x", doubted=True))
    board.joins(hand("y", refused="other versions"))
    assert given_out(board) == []
    assert board.reasons("a") == ""  # x may be all right
    board.leaves("tcp://x")
    assert board.reasons("a") == "y: other versions"
    board.drop("a")
    assert board.waiting == ("b",)


def test_a_cell_that_one_worker_cannot_go_on_with_goes_elsewhere_without_a_try() -> None:
    board = Board({"a": PLAIN})
    board.joins(hand("x"))
    board.joins(hand("y"))
    assert given_out(board) == [("a", "x")]
    board.unfit("a", "another server")
    assert given_out(board) == [("a", "y")]
    board.unfit("a", "another server there")
    assert given_out(board) == []
    assert board.reasons("a") == "x: another server\ny: another server there"


EVENTS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "done", "fail", "unfit", "doubt"]), st.integers(0, 7)), max_size=60
)


@given(st.lists(st.booleans(), min_size=1, max_size=6), EVENTS)
def test_whatever_happens_no_cell_runs_twice_or_is_forgotten(
    embedded: list[bool], events: list[tuple[str, int]]
) -> None:
    needs = {f"c{i}": Need(frozenset({f"m{i % 2}"}), one) for i, one in enumerate(embedded)}
    board = Board(needs)
    ended: dict[str, str] = {}
    fails: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    for kind, number in events:
        address = f"tcp://w{number % 4}"
        running = sorted(board.running)
        cell = running[number % len(running)] if running else None
        if kind == "join":
            lacks = {"m1": "not there"} if number % 2 else {}
            board.joins(hand(f"w{number % 4}", 1 + number % 2, host=f"h{number % 2}", lacks=lacks))
        elif kind == "leave":
            for lost in board.leaves(address):
                losses[lost] += 1
                if not board.lost(lost):
                    assert losses[lost] % MOST_LOSSES == 0
                    fails[lost] += 1
                    if not board.failed(lost):
                        ended[lost] = "failed"
        elif cell is None:
            continue
        elif kind == "done":
            board.done(cell)
            ended[cell] = "done"
        elif kind == "fail":
            fails[cell] += 1
            if not board.failed(cell):
                ended[cell] = "failed"
        elif kind == "unfit":
            board.unfit(cell, "no")
        elif kind == "doubt" and address in board.hands:
            board.hands[address].doubted = True
        for name, worker in given_out(board):
            assert name not in ended
            assert not board.hands[f"tcp://{worker}"].doubted
            assert not set(board.hands[f"tcp://{worker}"].lacks) & needs[name].models
        assert sorted([*board.waiting, *board.running, *ended]) == sorted(needs)
        loads = Counter(board.running.values())
        assert all(loads[address] <= one.threads for address, one in board.hands.items())
        engines = Counter(
            board.hands[w].host for c, w in board.running.items() if needs[c].embedded and w in board.hands
        )
        assert not engines or max(engines.values()) == 1
        assert all(count <= TRIES for count in fails.values())
