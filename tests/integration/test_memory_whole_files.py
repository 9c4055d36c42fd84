"""A commit whose file a full disk has cut off is taken back."""

from __future__ import annotations

import os
from pathlib import Path

import lancedb
import pytest
from coda_memory.whole_files import committed_whole


def test_a_commit_with_half_a_file_is_no_commit(tmp_path: Path):
    table = lancedb.connect(tmp_path).create_table("memories", [{"id": "a", "text": "chess"}])
    data = tmp_path / "memories.lance" / "data"

    def cut_off() -> None:
        known = set(data.iterdir())
        table.add([{"id": "b", "text": "tea"}])
        (new,) = set(data.iterdir()) - known
        os.truncate(new, new.stat().st_size // 2)

    with pytest.raises(OSError, match="No space left"):
        committed_whole(table, data, cut_off)
    assert [row["id"] for row in table.search().to_list()] == ["a"]
    committed_whole(table, data, lambda: table.add([{"id": "c", "text": "milk"}]))
    assert {row["id"] for row in table.search().to_list()} == {"a", "c"}
