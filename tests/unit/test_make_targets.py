"""What `make` runs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_long_run_is_in_a_target():
    """`make test` leaves out what is marked soak, so another target has to name it."""
    makefile = (ROOT / "Makefile").read_text()
    marked = [
        path.relative_to(ROOT)
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != Path(__file__) and "pytest.mark.soak" in path.read_text()
    ]
    assert len(marked) >= 4
    assert [str(path) for path in marked if str(path) not in makefile] == []
