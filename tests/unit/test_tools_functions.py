"""Functions as tools: their schema, their arguments, their faults."""

import asyncio
import json
import sys
import threading
from typing import Annotated, Literal

import pytest
from coda_tools import ToolRegistry, tool
from coda_tools.coda_manager import add_coda_tools
from pydantic import BaseModel, Field

from coda_voice.errors import IntegrationError, ValidationError
from coda_voice.protocols import ToolBox, ToolManager


class Place(BaseModel):
    city: str
    country: str | None = None


@tool(cancellable=False, dangerous=True, timeout=3, speak_while_running="I am booking it.")
async def book(
    place: Place,
    nights: Annotated[int, Field(ge=1, le=30)],
    room: Literal["single", "double"] = "single",
    note: str | None = None,
) -> dict[str, object]:
    """Book a hotel room
    in a city.

    place: where to stay
    nights: how many nights,
        at most thirty
    Args:
        room: which kind of room
    """
    return {"city": place.city, "nights": nights, "room": room, "note": note}


async def test_schema_comes_from_hints_and_docstring():
    spec = book.spec
    assert (spec.name, spec.description) == ("book", "Book a hotel room in a city.")
    assert (spec.cancellable, spec.dangerous, spec.timeout) == (False, True, 3)
    text = json.dumps(spec.parameters)
    assert "$ref" not in text and "anyOf" not in text and "title" not in text
    properties = spec.parameters["properties"]
    assert properties["place"]["description"] == "where to stay"
    assert properties["place"]["properties"]["city"] == {"type": "string"}
    assert properties["nights"]["maximum"] == 30
    assert properties["nights"]["description"] == "how many nights, at most thirty"
    assert properties["room"]["enum"] == ["single", "double"]
    assert properties["room"]["description"] == "which kind of room"
    assert spec.parameters["required"] == ["place", "nights"]
    assert spec.function_schema()["function"]["name"] == "book"


async def test_a_tool_is_still_its_function():
    assert (await book(Place(city="Rome"), 2))["room"] == "single"


async def test_arguments_are_coerced_and_results_are_text():
    outcome = await ToolRegistry([book]).call(
        "book", {"place": {"city": "Rome"}, "nights": "2", "room": "double"}, "c1"
    )
    assert outcome.success and outcome.call_id == "c1" and outcome.execution_time_ms > 0
    assert json.loads(outcome.result) == {
        "city": "Rome", "nights": 2, "room": "double", "note": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"place": {"city": "Rome"}}, "nights: Field required"),
        ({"place": {"city": "Rome"}, "nights": 99}, "nights: Input should be less than"),
        ({"place": "Rome", "nights": 1}, "place: "),
        ({"place": {"city": "Rome"}, "nights": 1, "stars": 5}, "stars: Extra inputs"),
    ],
)
async def test_wrong_arguments_come_back_in_words(arguments, says):
    outcome = await ToolRegistry([book]).call("book", arguments)
    assert outcome.fault == "invalid_arguments" and says in outcome.error


def test_what_cannot_be_a_tool_is_refused_where_it_is_made():
    def silent(a: int) -> int:
        return a

    def untyped(a) -> int:
        """Give a."""
        return a

    def starred(*numbers: int) -> int:
        """Add up."""
        return sum(numbers)

    for function, says in [(silent, "docstring"), (untyped, "type hint"), (starred, "schema")]:
        with pytest.raises(ValidationError, match=says):
            tool(function)
    with pytest.raises(ValidationError, match="cannot name a tool"):
        tool(name="9 lives")(book.function)
    with pytest.raises(ValidationError, match="already"):
        ToolRegistry([book, book])


@tool
def crash() -> str:
    """Raise."""
    raise KeyError("no such lamp")


@tool(timeout=0.05)
async def hang() -> str:
    """Hang for ever."""
    await asyncio.Event().wait()
    return "never"


@tool
def essay() -> str:
    """Give a long text."""
    return "word " * 10_000


async def test_faults_of_a_tool_stay_in_its_outcome():
    registry = ToolRegistry([crash, hang, essay], result_limit=100)
    crashed, hung, long, unknown = await asyncio.gather(
        registry.call("crash", {}),
        registry.call("hang", {}),
        registry.call("essay", {}),
        registry.call("crush", {}),
    )
    assert crashed.fault == "failed" and "no such lamp" in crashed.error
    assert hung.fault == "timeout" and "0.05 s" in hung.error
    assert long.success and len(long.result) < 150 and "cut: 100 of 50000" in long.result
    assert unknown.fault == "unknown_tool" and "Did you mean 'crash'" in unknown.error


@tool
def leave() -> str:
    """End the program, as a function that was written for a command line does."""
    sys.exit("nothing to do here")


@tool
async def leave_at_once() -> str:
    """The same on the event loop."""
    sys.exit(2)


@tool(timeout=5)
def first_of_none() -> str:
    """Take the first of nothing."""
    return next(iter([]))


@tool
def picture() -> dict[str, bytes]:
    """Give bytes that are no text."""
    return {"png": b"\x89PNG\xff"}


@tool
def family() -> list[object]:
    """Give what holds itself."""
    members: list[object] = ["anna"]
    members.append(members)
    return members


@pytest.mark.parametrize(
    ("faulty", "says"),
    [
        (leave, "nothing to do here"),
        (leave_at_once, "end the program"),
        (first_of_none, "StopIteration"),
        (picture, "utf-8"),
        (family, "Circular"),
    ],
)
async def test_neither_an_exit_nor_an_odd_result_of_a_tool_reaches_the_caller(faulty, says):
    outcome = await ToolRegistry([faulty]).call(faulty.spec.name, {})
    assert outcome.fault == "failed" and says in outcome.error
    assert (await ToolRegistry([essay]).call("essay", {})).success


async def test_plain_functions_that_hang_neither_stop_the_loop_nor_pile_up():
    release = threading.Event()

    @tool(timeout=0.05)
    def stuck() -> str:
        """Hang in a thread."""
        release.wait(30)
        return "late"

    registry = ToolRegistry([stuck])
    try:
        outcomes = await asyncio.gather(*(registry.call("stuck", {}) for _ in range(20)))
        faults = [outcome.fault for outcome in outcomes]
        assert faults.count("timeout") == 16 and faults.count("busy") == 4
    finally:
        release.set()


async def test_a_cancelled_call_stops_the_tool():
    stopped = asyncio.Event()
    started = asyncio.Event()

    @tool
    async def wait() -> str:
        """Wait until stopped."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    call = asyncio.create_task(ToolRegistry([wait]).call("wait", {}))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(5):
        await stopped.wait()


async def test_the_registry_serves_coda_and_coda_serves_the_registry():
    registry = ToolRegistry([book, essay])
    assert isinstance(registry, ToolManager) and isinstance(registry, ToolBox)
    call = {"id": "7", "function": {"name": "essay", "arguments": "{}"}}
    assert (await registry.process_function_call(call)).call_id == "7"
    broken = {"name": "essay", "arguments": "{oops"}
    assert (await registry.process_function_call(broken)).fault == "invalid_arguments"

    ours = ToolRegistry([essay])
    assert await add_coda_tools(ours, registry) == {
        "essay": "There is a tool 'essay' already; remove it first or name this one otherwise."
    }
    spec = ours.specs()[1]
    assert (spec.name, spec.dangerous, spec.timeout) == ("book", True, 3)
    good = await ours.call("book", {"place": {"city": "Rome"}, "nights": 1})
    assert json.loads(good.result)["city"] == "Rome"
    wrong = await ours.call("book", {"place": {"city": "Rome"}})
    assert wrong.fault == "invalid_arguments" and "'nights' is a required" in wrong.error


@pytest.mark.parametrize(
    ("schemas", "says"),
    [
        (lambda: 1 / 0, "division by zero"),
        (lambda: None, "did not list"),
        (lambda: ["lamp"], "gave 'lamp'; a schema has name"),
        (lambda: [{"function": "lamp"}], "a schema has name"),
    ],
)
async def test_a_manager_that_cannot_list_its_tools_is_said_to_be_at_fault(schemas, says):
    class House:
        def get_function_schemas(self, context=None):
            return schemas()

        async def process_function_call(self, call): ...

    with pytest.raises(IntegrationError, match=f"House.*{says}"):
        await add_coda_tools(ToolRegistry(), House())


async def test_definitions_that_fail_are_told_as_a_fault_of_the_manager():
    class House:
        def get_function_schemas(self, context=None):
            return [{"name": "lamp", "description": "Light.", "parameters": {}}]

        async def get_available_tools(self, context=None):
            raise KeyError("lamp")

        async def process_function_call(self, call): ...

    with pytest.raises(IntegrationError, match=r"get_available_tools.*lamp"):
        await add_coda_tools(ToolRegistry(), House())
