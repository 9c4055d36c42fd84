"""What the offline brain tells users of themselves: what answers, or that there is nothing."""

from __future__ import annotations

import pytest
from coda_memory import MemoryStore
from coda_memory.coda import CodaMemory
from coda_tools import ToolRegistry
from coda_tools.builtin.memory import memory_tools

from coda_voice.hybrid.llm import Message, TextDelta, ToolCallRequest
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.hybrid.reasoning_prompt import tool_message

TOLD = [
    "my name is anna and i live in berlin",
    "i'm allergic to nuts and eggs",
    "i have two cats",
    "i'm thirty two",
    "my wife is called eve",
    "remember that the door code is one two three four",
    "please remember that i like sailing",
]
NOTHING = "Nothing is remembered about that."


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    with MemoryStore(tmp_path_factory.mktemp("memory")) as store:
        anna = store.user("anna")
        for said in TOLD:
            anna.remember(said)
        yield ToolRegistry(memory_tools(CodaMemory(anna)))


async def answered(tools: ToolRegistry, question: str) -> str:
    asked, brain = Message("user", question), OfflineBrain()
    chunks = [chunk async for chunk in brain.stream([asked], tools.specs())]
    assert isinstance(chunks[0], ToolCallRequest)
    call = chunks[0].call
    outcome = await tools.call(call.name, call.arguments, call.call_id)
    told = [chunk async for chunk in brain.stream([asked, tool_message(outcome)], tools.specs())]
    assert isinstance(told[0], TextDelta)
    return told[0].text


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what is my name", "Your name is anna."),
        ("where do i live", "You live in berlin."),
        ("what is my dog's name", NOTHING),
        ("when is my train", NOTHING),
        ("what did i buy", NOTHING),
        ("what did i tell you about wine", NOTHING),
        ("how old am i", "You are thirty two years old."),
        ("do i have a cat", "You have two cats."),
        ("what do i like", "You like sailing."),
        ("can you tell me what i like", "You like sailing."),
        ("do you remember what the door code is",
         "You asked to remember: the door code is one two three four."),
        ("do you know who i am", "Your name is anna."),
    ],
)  # fmt: skip
async def test_only_what_answers_is_told(tools, question, answer):
    """ "What is my dog's name" was answered with the user's own."""
    assert await answered(tools, question) == answer


async def test_all_of_several_answers_are_told(tools):
    told = await answered(tools, "what am i allergic to")
    assert "You are allergic to nuts." in told and "You are allergic to eggs." in told


async def test_who_asks_for_all_that_is_known_is_told_what_matters_most(tools):
    assert "Your name is anna." in await answered(tools, "what do you know about me")


@pytest.mark.parametrize("thing", ["jazz", "sailing", "cooking"])
async def test_the_only_thing_that_is_known_is_told_to_who_asks_what_he_likes(tmp_path, thing):
    """Nothing in the question is like the thing: "nothing is remembered about that"."""
    with MemoryStore(tmp_path) as store:
        anna = store.user("anna")
        anna.remember(f"please remember that i like {thing}")
        tools = ToolRegistry(memory_tools(CodaMemory(anna)))
        assert await answered(tools, "what do i like") == f"You like {thing}."


async def test_who_has_moved_is_told_where_he_lives_now_and_where_he_works(tmp_path):
    """The old home stood in one sentence with the place of work, which was told in its stead."""
    with MemoryStore(tmp_path) as store:
        user = store.user("anna")
        tools = ToolRegistry(memory_tools(CodaMemory(user)))
        user.remember("i live in paris and work in potsdam")
        assert await answered(tools, "where do i live") == "You live in paris."
        assert await answered(tools, "where do i work") == "You work in potsdam."
        user.remember("i moved from paris to berlin")
        assert await answered(tools, "where do i live") == "You live in berlin."
        assert await answered(tools, "where do i work") == "You work in potsdam."
        (old,) = [memory for memory in user.list() if memory.text == "The user lives in paris."]
        assert not old.valid


async def test_who_no_longer_likes_one_of_two_things_likes_the_other(tmp_path):
    with MemoryStore(tmp_path) as store:
        user = store.user("anna")
        tools = ToolRegistry(memory_tools(CodaMemory(user)))
        for said in ("i like tea and coffee", "i do not like tea any more"):
            user.remember(said)
        assert await answered(tools, "what do i like") == "You like coffee."
        assert "You do not like tea." in await answered(tools, "do i like tea")


async def test_family_is_counted_and_its_ages_are_told(tmp_path):
    with MemoryStore(tmp_path) as store:
        user = store.user("anna")
        tools = ToolRegistry(memory_tools(CodaMemory(user)))
        for said in ("i have two cats", "my son is five years old", "my mother is seventy"):
            user.remember(said)
        assert await answered(tools, "how many cats do i have") == "You have two cats."
        assert await answered(tools, "how old is my son") == "Your son is five years old."
        assert await answered(tools, "how old am i") == NOTHING


@pytest.mark.parametrize(
    ("told", "question", "answer"),
    [
        (["my name is tom", "call me tommy"], "what is my name", "You are called tommy."),
        (["remember that my car is on level three"], "where is my car",
         "You asked to remember: your car is on level three."),
        (["my sister is two years older than me"], "how old is my sister",
         "Your sister is two years older than you."),
        (["i'm a nurse", "i quit my job", "i started working at bosch"], "what's my job", NOTHING),
        (["i'm a nurse", "i work at siemens", "i work at bosch"], "what's my job",
         "You are a nurse."),
        (["i am vegetarian", "i eat meat again"], "am i vegetarian",
         "You do eat or drink meat again."),
        (["i work at the hospital", "i don't work at the hospital any more"], "where do i work",
         "You no longer work at the hospital."),
    ],
)  # fmt: skip
async def test_what_holds_now_is_told_though_something_older_was_nearer(
    tmp_path, told, question, answer
):
    """Nothing was known of the name any more, once it had been said anew in other words."""
    with MemoryStore(tmp_path) as store:
        user = store.user("anna")
        tools = ToolRegistry(memory_tools(CodaMemory(user)))
        for said in told:
            user.remember(said)
        assert await answered(tools, question) == answer
