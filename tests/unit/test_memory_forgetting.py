"""What is forgotten when the user asks for it in words: what was asked, and nothing else."""

from __future__ import annotations

import pytest
from coda_memory.embedding import HASHED_WORDS
from coda_memory.forgetting import to_forget, without_requests
from coda_memory.record import Memory
from coda_memory.store import MemoryStore

from coda_voice.hybrid.offline_brain import understand
from coda_voice.hybrid.route_rules import matching_rule, normalised
from coda_voice.hybrid.second_person import forgotten
from coda_voice.recollection import NOTHING_FORGOTTEN, forgotten_for_llm
from tests.integration.test_memory_store import bytes_with

TOOLS = {"forget", "forget_everything", "remember", "recall", "cancel_timer"}
SAID = (
    "I like tea and I live in Bern.",
    "I like green tea.",
    "My sister is called Anna.",
    "My sister is a nurse.",
    "I have a dog.",
    "My dog is called Rex.",
    "I don't like coffee.",
    "My car is on level three.",
    "I'm allergic to nuts.",
    "My address is 12 Hill Road.",
    "I met Paul in the park.",
    "I like tea.",
)


@pytest.fixture(scope="module")
def memories(tmp_path_factory: pytest.TempPathFactory) -> list[Memory]:
    with MemoryStore(tmp_path_factory.mktemp("memory"), HASHED_WORDS) as store:
        ada = store.user("ada")
        ada.append([m for said in SAID for m in ada.turn(said)]).result()
        return ada.list()


@pytest.mark.parametrize(
    ("what", "texts", "turns"),
    [
        ("that i like tea", ["The user likes tea."], [0, 11]),
        ("the fact that i live in bern", ["The user lives in Bern."], [0]),
        ("that i love tea", ["The user likes tea."], [0, 11]),
        ("The user likes tea.", ["The user likes tea."], [0, 11]),
        ("where i live", ["The user lives in Bern."], [0]),
        ("that i do not like coffee", ["The user does not like coffee."], [6]),
        ("that i like coffee", [], []),
        ("that i like juice", [], []),
        ("that i have two dogs", [], []),
        ("my sister's name", ["The user's sister is called Anna."], [2]),
        (
            "everything about my sister",
            ["The user's sister is called Anna.", "The user's sister is a nurse."],
            [2, 3],
        ),
        ("about my dog", ["The user has a dog.", "The user's dog is called Rex."], [4, 5]),
        ("what i am allergic to", ["The user is allergic to nuts."], [8]),
        ("my address", ["The user's address is 12 Hill Road."], [9]),
        (
            "that my car is on level three",
            ['The user once said: "My car is on level three."'],
            [7],
        ),
        ("what i said about paul", ['The user once said: "I met Paul in the park."'], [10]),
        ("what i just said", ["The user likes tea."], [11]),
        ("everything about me", [], []),
        ("me", [], []),
        ("it", [], []),
        ("my name", [], []),
    ],
)
def test_what_was_asked_is_chosen_and_nothing_else(memories, what, texts, turns):
    chosen = to_forget(what, memories)
    assert sorted(chosen.texts) == sorted(texts)
    gone = {m.text for m in memories if m.id in chosen.ids and m.kind == "turn"}
    assert gone == {SAID[turn] for turn in turns}
    facts = {m.text for m in memories if m.id in chosen.ids and m.kind != "turn"}
    assert facts == {text for text in texts if "once said" not in text}


def test_what_is_forgotten_is_gone_from_every_file_and_the_rest_is_not(tmp_path):
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        ada = store.user("ada")
        ada.remember("I like walnuts and I live in Bern.")
        ada.remember("Do you remember that I like walnuts?")
        assert ada.forget_said("that I like walnuts") == ("The user likes walnuts.",)
        assert [m.text for m in ada.list()] == ["The user lives in Bern."]
        assert bytes_with(tmp_path, "walnut") == []
        assert ada.forget_said("that I like walnuts") == ()


def test_of_a_great_many_all_is_forgotten_and_little_is_said(tmp_path):
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        ada = store.user("ada")
        story = "and so on and on " * 40
        said = [f"In {year} I met Paul {story}" for year in range(1_000)]
        ada.append([m for turn in ["I live in Bern.", *said] for m in ada.turn(turn)]).result()
        told = forgotten_for_llm(ada.forget_said("what I said about Paul"))
        assert len(told) < 2_000 and "995 more" in told
        spoken = forgotten(told)
        assert len(spoken) < 600 and spoken.endswith("and 997 more things of that kind.")
        assert ada.count() == 2 and bytes_with(tmp_path, "paul") == []


@pytest.mark.parametrize(
    ("said", "tool", "what"),
    [
        ("Forget that I like tea.", "forget", "that i like tea"),
        ("please forget my address", "forget", "my address"),
        ("Can you forget what I said about Paul?", "forget", "what i said about paul"),
        ("don't remember that I like tea", "forget", "that i like tea"),
        ("you can forget about my dog", "forget", "about my dog"),
        ("forget everything about my sister", "forget", "everything about my sister"),
        ("forget everything about me", "forget_everything", None),
        ("Delete everything you know about me.", "forget_everything", None),
        ("erase my memories", "forget_everything", None),
    ],
)
def test_the_offline_brain_knows_what_is_to_be_forgotten(said, tool, what):
    assert understand(said, TOOLS) == (tool, {} if what is None else {"what": what})
    rule = matching_rule(normalised(said), has_previous=False)
    assert rule is not None and rule.kind == "memory"
    assert without_requests(said) == ""


@pytest.mark.parametrize(
    "said",
    [
        "forget it",
        "forget that",
        "forget about it",
        "forget the question",
        "i always forget my keys",
    ],
)
def test_what_names_nothing_deletes_nothing(said):
    assert understand(said, TOOLS) is None
    assert without_requests(said) == said


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Forget that I like tea. I like coffee.", "I like coffee."),
        ("forget that i like tea and remember that i like milk", "remember that i like milk"),
        ("Don't forget my birthday is in June.", "Don't forget my birthday is in June."),
    ],
)
def test_the_rest_of_such_a_turn_is_kept(said, kept):
    assert without_requests(said) == kept


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["The user likes tea."], "I forgot that you like tea."),
        (
            ["The user likes tea.", "The user's dog is called Rex."],
            "I forgot that you like tea and that your dog is called Rex.",
        ),
        (
            ['The user once said: "My car is on level three."'],
            "I forgot that your car is on level three.",
        ),
        ([f"The user likes {a}." for a in "abcde"],
         "I forgot that you like a, that you like b, that you like c and 2 more things of that "
         "kind."),
        ([f"The user likes {a}." for a in range(5_000)],
         "I forgot that you like 0, that you like 1, that you like 2 and 4997 more things of that "
         "kind."),
        ([], NOTHING_FORGOTTEN),
    ],
)  # fmt: skip
def test_the_user_hears_what_was_forgotten(texts, told):
    assert forgotten(forgotten_for_llm(texts)) == told
