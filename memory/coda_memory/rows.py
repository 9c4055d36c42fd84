"""Memories as rows of a user's table, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from coda_memory.embedding import Vectors
from coda_memory.record import COLUMNS, RECORD, Memory

Row = dict[str, Any]
Rows = list[Row]


def as_memory(row: Row) -> Memory:
    """Read a memory from a row. Raises ValueError where the row is damaged."""
    return Memory.model_validate({name: row[name] for name in COLUMNS})


def as_rows(
    user_id: str, memories: Sequence[Memory], vectors: Vectors, schema: pa.Schema
) -> pa.Table:
    """Memories as rows of a user's table."""
    columns: dict[str, object] = {"user_id": [user_id] * len(memories)}
    for name in COLUMNS:
        columns[name] = [getattr(memory, name) for memory in memories]
    columns["vector"] = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel()),
        schema.field("vector").type.list_size,
    )
    if RECORD in schema.names:
        columns[RECORD] = [memory.model_dump_json() for memory in memories]
    return pa.table(columns, schema=schema)


def with_end(row: pa.Table, memory: Memory) -> pa.Table:
    """One row as it is stored, but for when ``memory`` ended and what came in its place."""
    changed = {name: getattr(memory, name) for name in ("superseded_at", "superseded_by")}
    if RECORD in row.schema.names:
        changed[RECORD] = memory.model_dump_json()
    for name, value in changed.items():
        field = row.schema.field(name)
        row = row.set_column(row.schema.get_field_index(name), field, pa.array([value], field.type))
    return row


def with_records(rows: pa.Table) -> pa.Table:
    """Rows of a store of format 1, with the column that it did not have."""
    memories = [as_memory(row) for row in rows.select(COLUMNS).to_pylist()]
    records = pa.array([memory.model_dump_json() for memory in memories], pa.string())
    return rows.add_column(rows.schema.get_field_index("vector"), RECORD, records)


def rows_found(found: pa.Table) -> Rows:
    """Rows as mappings; vectors as arrays, for as lists of numbers they take most of the time."""
    plain = [name for name in found.column_names if name != "vector"]
    rows: Rows = found.select(plain).to_pylist()
    if rows and "vector" in found.column_names:
        flat = found["vector"].combine_chunks().flatten().to_numpy()
        for row, vector in zip(rows, flat.reshape(len(rows), -1), strict=True):
            row["vector"] = vector
    if RECORD in plain:
        whole = json.loads(f"[{','.join(row.pop(RECORD) for row in rows)}]")
        for row, memory in zip(rows, whole, strict=True):
            row.update(memory)
    return rows
