"""Mailboxes are bounded and count what they lose."""

from __future__ import annotations

import pytest

from coda_voice.moshi.mailbox import Mailbox


def test_a_full_mailbox_refuses() -> None:
    box: Mailbox[int] = Mailbox(2)
    assert box.put(1) and box.put(2)
    assert not box.put(3)
    assert box.take_all() == [1, 2]
    assert box.dropped == 0


def test_a_full_mailbox_loses_its_oldest_and_counts() -> None:
    box: Mailbox[int] = Mailbox(3)
    kept = [box.put_dropping(i) for i in range(10)]
    assert kept == [True] * 3 + [False] * 7
    assert box.take_all() == [7, 8, 9]
    assert box.dropped == 7


def test_items_come_out_in_order_one_by_one() -> None:
    box: Mailbox[str] = Mailbox(4)
    for item in "abc":
        box.put(item)
    assert box.peek() == "a"
    assert [box.get(), box.get(), box.get(), box.get()] == ["a", "b", "c", None]


def test_a_mailbox_without_room_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Mailbox(0)
