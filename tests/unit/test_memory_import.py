"""What a memory store needs is loaded, and no more."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import coda_memory.store
import lance_namespace_urllib3_client as client

assert "lance_namespace_urllib3_client.api" not in sys.modules, "the client of a service is loaded"
loader = client.__spec__.loader
load, failures = loader.exec_module, [ImportError("for once")]
def fails_once(module):
    if failures:
        raise failures.pop()
    load(module)
loader.exec_module = fails_once
try:
    client.ApiClient
except ImportError:
    pass
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda number: client.ApiClient, range(8)))
assert len(set(found)) == 1
from lance_namespace_urllib3_client import TableApi
assert TableApi.create_table and client.__version__
assert not hasattr(client, "what_is_not_there")
"""
STAR = """
import coda_memory
from lance_namespace_urllib3_client import *
assert TableApi.create_table
"""


def run(program: str) -> None:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_client_of_a_hosted_service_is_loaded_when_it_is_asked_for() -> None:
    run(PROGRAM)


def test_all_of_it_is_there_for_who_wants_all() -> None:
    run(STAR)
