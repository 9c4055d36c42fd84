"""The memory store on disk: kept, found, superseded, kept apart, forgotten, handed over."""

from __future__ import annotations

import asyncio
import json
import random
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from coda_memory import MemoryModelError, MemoryStore, MemoryStoreError, upkeep
from coda_memory.coda import CodaMemory, CodaSource
from coda_memory.embedding import HASHED_WORDS, HashedWords, unit
from coda_memory.owner import Owner
from coda_memory.personality import Personality, load_character
from coda_memory.record import Memory, new_id
from coda_memory.reembed import reembed
from coda_memory.tables import Tables
from coda_memory.transfer import export_lines, import_lines
from coda_memory.voice import as_facts
from lancedb.index import IvfFlat, IvfRq
from lancedb.table import LanceTable
from typer.testing import CliRunner

from coda_voice.cli.main import command_line
from coda_voice.errors import IntegrationError, ValidationError
from coda_voice.protocols import require_methods
from coda_voice.recollection import quoted_memories

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def opened(folder: Path, **options) -> MemoryStore:
    return MemoryStore(folder, HASHED_WORDS, now=lambda: NOW, **options)


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path / "memory") as store:
        yield store


def bytes_with(folder: Path, *words: str) -> list[str]:
    """Files that hold any of the words, in any case."""
    return [
        f"{path.name}: {word}"
        for path in folder.rglob("*")
        if path.is_file()
        for word in words
        if word.lower().encode() in path.read_bytes().lower()
    ]


def test_what_was_said_is_known_after_a_restart(tmp_path):
    with opened(tmp_path) as store:
        turn, fact = store.user("ada").remember("I like chess.", conversation_id="monday")
    with opened(tmp_path) as store:
        hits = store.user("ada").search("chess")
        assert {hit.memory.text for hit in hits} == {"I like chess.", "The user likes chess."}
        kept = {hit.memory.id: hit.memory for hit in hits}
        assert kept[turn.id] == turn
        assert kept[fact.id].source_id == turn.id
        assert kept[turn.id].conversation_id == "monday"
        assert list(store.users()) == ["ada"]


def test_a_newer_fact_supersedes_the_older_which_stays_as_history(store):
    ada = store.user("ada")
    ada.remember("I live in Paris.", at=NOW - timedelta(days=90))
    ada.remember("I moved to Berlin.", at=NOW - timedelta(days=2))
    texts = [m.text for m in ada.list(history=False, kinds=["fact"])]
    assert texts == ["The user lives in Berlin."]
    history = {m.text: m for m in ada.list()}
    old = history["The user lives in Paris."]
    assert old.superseded_at == NOW - timedelta(days=2)
    assert old.superseded_by == history["The user lives in Berlin."].id
    assert not history["I live in Paris."].valid
    # even when only the old one shares a word with the question
    assert "Berlin" in ada.search("Paris")[0].memory.text
    assert all("Paris" not in hit.memory.text for hit in ada.search("Paris", history=False))


def holding(store: MemoryStore) -> set[str]:
    """What holds of ada, turns and facts."""
    return {memory.text for memory in store.user("ada").list(history=False)}


def test_saying_a_fact_again_does_not_retire_what_was_said_with_it(store):
    ada = store.user("ada")
    story = "I live in Leeds, and the bakery below my flat wakes me at four."
    for day, said in enumerate((story, "I live in Leeds.", "i live in leeds")):
        ada.remember(said, at=NOW + timedelta(days=day))
        assert story in holding(store)
    assert [fact.text.casefold() for fact in ada.facts()] == ["the user lives in leeds."]
    ada.remember("I moved to Berlin.", at=NOW + timedelta(days=5))
    assert holding(store) == {"I moved to Berlin.", "The user lives in Berlin."}
    (old,) = [memory for memory in ada.list() if memory.text == story]
    (new,) = ada.facts()
    assert (old.superseded_by, old.superseded_at) == (new.id, new.created_at)
    ada.remember("I live in Leeds.", at=NOW + timedelta(days=9))
    assert holding(store) == {"I live in Leeds.", "The user lives in Leeds."}


def test_a_turn_of_two_facts_holds_while_either_does_said_again_or_not(store):
    ada = store.user("ada")
    both = "I live in Leeds. I like tea."
    for day, said in enumerate((both, "I live in Leeds.", "I don't like tea.")):
        ada.remember(said, at=NOW + timedelta(days=day))
    assert both in holding(store), "she lives there still"
    assert "The user likes tea." not in holding(store)
    ada.remember("I moved to Berlin.", at=NOW + timedelta(days=5))
    assert both not in holding(store) and "I don't like tea." in holding(store)


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        (["I moved to Berlin. I no longer live in Paris."], "The user lives in Berlin."),
        (["I no longer live in Paris. I moved to Berlin."], "The user lives in Berlin."),
        (["I live in Berlin.", "I don't live in Paris anymore."], "The user lives in Berlin."),
        (["I live in Berlin.", "I no longer live in Berlin."],
         "The user no longer lives in Berlin."),
        (["I work at Shell.", "I don't work at BP anymore."], "The user works at Shell."),
        (["I work at Shell.", "I no longer work at the refinery."],
         "The user no longer works at the refinery."),
        (["I'm a vegetarian.", "I'm not a vegan."], "The user is vegetarian."),
        (["I'm single.", "I'm not single."], "The user is not single."),
    ],
)  # fmt: skip
def test_who_denies_something_else_takes_nothing_back(store, said, holds):
    ada = store.user("ada")
    for day, turn in enumerate(said):
        ada.remember(turn, at=NOW + timedelta(days=day))
    assert [fact.text for fact in ada.facts()] == [holds]
    assert holds in {hit.memory.text for hit in ada.search("what do you know", history=False)}


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        (["i live in paris", "i used to live in paris but now i live in berlin"],
         {"The user lives in berlin."}),
        (["i drive a renault", "i don't drive a renault anymore"],
         {"The user no longer drives a renault."}),
        (["i drive a renault", "i don't drive anymore"], {"The user no longer drives."}),
        (["i drive a bmw", "i don't drive a renault anymore"], {"The user drives a bmw."}),
        (["i drive an old renault", "i have a car", "we sold the car"],
         {"The user sold their car."}),
        (["i drive an old renault", "i have a car"],
         {"The user drives an old renault.", "The user has a car."}),
        (["i sold my car", "i drive a bmw"],
         {"The user drives a bmw.", "The user sold their car."}),
        (["i have a dog and a cat", "i no longer have a dog"],
         {"The user has a cat.", "The user does not have a dog."}),
        (["i have a new car", "i sold my old car"], {"The user sold their old car."}),
        (["i have two kids", "i have three kids"], {"The user has three kids."}),
        (["i live in bern", "i live in a small flat", "we live near the river"],
         {"The user lives in bern.", "The user lives in a small flat.",
          "The user lives near the river."}),
        (["i live in bern", "i no longer live in a flat"],
         {"The user lives in bern.", "The user no longer lives in a flat."}),
        (["i live in paris", "i live on the moon"], {"The user lives on the moon."}),
        (["i live on the moon", "i live in paris"], {"The user lives in paris."}),
        (["i live in paris", "I live on the Isle of Wight now"],
         {"The user lives on the Isle of Wight."}),
        (["i live on the moon", "i no longer live on the moon"],
         {"The user no longer lives on the moon."}),
        (["i live in bern", "i no longer live on the moon"], {"The user lives in bern."}),
        (["i live in bern", "i no longer live on mars"], {"The user lives in bern."}),
        (["i live in bern", "i live alone"], {"The user lives in bern."}),
        (["i live in bern", "i live with my sister", "i live near a river", "i live on a boat",
          "i live on the third floor", "i live on the coast", "i live at home"],
         {"The user lives in bern.", "The user lives with their sister.",
          "The user lives near a river.", "The user lives on a boat.",
          "The user lives on the third floor.", "The user lives on the coast.",
          "The user lives at home."}),
        (["my name is bob", "my name is not bob"], {"The user's name is not bob."}),
        (["my name is ada", "my name is not bob"], {"The user's name is ada."}),
        (["i have a dog", "my dog died"], {"The user's dog died."}),
    ],
)  # fmt: skip
def test_what_is_over_holds_no_more(store, said, holds):
    ada = store.user("ada")
    for day, turn in enumerate(said):
        ada.remember(turn, at=NOW + timedelta(days=day))
    assert {fact.text for fact in ada.facts()} == holds


def test_a_fact_in_the_third_person_is_superseded_as_any_other(store):
    ada = store.user("ada")
    ada.remember_fact("The user lives in Paris.", at=NOW - timedelta(days=9))
    ada.remember("I moved to Berlin.")
    assert [fact.text for fact in ada.facts()] == ["The user lives in Berlin."]


def test_an_older_fact_that_arrives_late_does_not_win(store):
    ada = store.user("ada")
    ada.remember("I live in Berlin.", at=NOW)
    ada.remember("I live in Paris.", at=NOW - timedelta(days=400))
    assert [m.text for m in ada.list(history=False, kinds=["fact"])] == [
        "The user lives in Berlin."
    ]


BREAKING_IDS = [
    "ada", "Ada", "ada ", "a'; DROP TABLE memories; --", "' OR '1'='1", '" OR ""="', "ada\x00",
    "../ada", "..", "/etc/passwd", "ada%", "ada_", "*", "user_id", "NULL", "null", "аda", "ådä",
    "a\u030ada", "用户", "👩‍🚀", "\u202eada", "ada\n", "x" * 1000, "1 OR 1=1", "ada' UNION SELECT",
]  # fmt: skip


PIECES = [
    "'", '"', ";", "--", "%", "_", "*", "/", "\\", "..", "\x00", "\n", " ", "ada", "Ada", "å", "用",
    "👩", "\u200d", "\u202e", " OR ", "NULL", "user_id", "=", "1", "(", ")", "`", "$", "{x}",
]  # fmt: skip


def made_up_ids(count: int, dice: random.Random) -> list[str]:
    """Ids of pieces that break filters and paths; some differ in a single one."""
    made = set(BREAKING_IDS)
    while len(made) < count:
        parts = dice.choices(PIECES, k=dice.randint(1, 6))
        made |= {one for one in ("".join(parts), "".join(parts[1:])) if one.strip()}
    return [*BREAKING_IDS, *sorted(made - set(BREAKING_IDS))][:count]


def hits_and_foreign_hits(store: MemoryStore, ids: list[str], queries: int) -> tuple[int, int]:
    """Ask ``queries`` times for somebody's memories with somebody else's words and id."""
    users = [store.user(name) for name in ids]
    waiting = []
    for number, user in enumerate(users):
        for k in range(4):
            text = f"secret{number} is kept in drawer {k} beside the lamp"
            waiting.append(user.append(user.turn(text)))
    for done in waiting:
        done.result()
    assert sorted(store.users()) == sorted(ids)
    dice = random.Random(5)
    words = HashedWords()
    found = foreign = 0
    for _ in range(queries):
        number, other = dice.randrange(len(ids)), dice.randrange(len(ids))
        query = dice.choice(
            [f"secret{other}", "drawer lamp", ids[other][:50], f"secret{other}' OR 1=1"]
        )
        vector = words.embed([query])[0]
        hits = store.user(ids[number]).search_vector(query, vector, 15)
        found += len(hits)
        foreign += sum(f"secret{number} " not in hit.memory.text for hit in hits)
    assert store.user("nobody at all").search("secret0 drawer") == []
    return found, foreign


def test_no_user_ever_meets_another_s_memories(store):
    """300 random queries over users with ids made to break filters and paths."""
    found, foreign = hits_and_foreign_hits(store, BREAKING_IDS, 300)
    assert found == 300 * 4 and foreign == 0


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_user_meets_another_s_memories_in_ten_thousand_queries(store):
    ids = made_up_ids(150, random.Random(6))
    found, foreign = hits_and_foreign_hits(store, ids, 10_000)
    print(f"{len(ids)} users, 10,000 queries: {found} hits, {foreign} of them somebody else's")
    assert found == 10_000 * 4 and foreign == 0


@pytest.mark.parametrize("user_id", ["", "  ", "\ud800", "x" * 2000, None, 7])
def test_memories_belong_to_somebody(store, user_id):
    with pytest.raises(ValidationError, match=r"user id|surrogate"):
        store.user(user_id)


def test_forgotten_text_is_in_no_file(tmp_path):
    """One of many, after compaction and updates, its fact and its word in the index too."""
    with opened(tmp_path) as store:
        ada, ben = store.user("quokka-7"), store.user("ben")
        ben.remember("I like rowing.")
        for number in range(45):
            ada.remember(f"Note {number} about the garden.")
        ada.remember("My doctor is Xylophonius Quetzalberg.", at=NOW)
        ada.remember("My doctor is Miss Ordinary.", at=NOW + timedelta(days=1))
        for number in range(45):
            ada.remember(f"Note {number} about the kitchen.")
        assert bytes_with(tmp_path, "xylophonius", "quetzalberg")
        assert ada.forget_matching("xylophonius QUETZALBERG") == 2
        assert bytes_with(tmp_path, "xylophonius", "quetzalberg", "xylophon") == []
        assert ada.count() == 92
        assert ada.search("garden")[0].memory.text.endswith("garden.")
        assert "Ordinary" in ada.search("doctor ordinary")[0].memory.text
        assert ada.forget_everything() == 92
        assert bytes_with(tmp_path, "garden", "ordinary", "quokka-7") == []
        assert [hit.memory.text for hit in ben.search("rowing", kinds=["turn"])] == [
            "I like rowing."
        ]
        assert list(store.users()) == ["ben"]


def test_forgetting_a_fact_forgets_the_turn_it_came_from(tmp_path):
    with opened(tmp_path) as store:
        ada = store.user("ada")
        _, fact = ada.remember("I'm allergic to walnuts.")
        ada.remember("The sky is blue.")
        assert ada.forget(fact.id) == 2
        assert [m.text for m in ada.list()] == ["The sky is blue."]
        assert bytes_with(tmp_path, "walnut") == []
        assert ada.forget("no-such-id") == 0


def test_forgetting_takes_what_the_user_made_of_the_characters(tmp_path):
    character = load_character("coda")
    with opened(tmp_path) as store:
        ada = store.user("quokka-7")
        coda = Personality(character, "quokka-7", store.states)
        for said in ("Stop joking, please.", "Shorter, please."):
            ada.remember(said)
            assert coda.feedback(said)
        moved = coda.traits
        assert bytes_with(tmp_path, "stop joking")
        assert ada.forget_matching("stop JOKING") == 1
        assert bytes_with(tmp_path, "joking") == []
        after = Personality(character, "quokka-7", store.states)
        assert after.traits == moved, "what was asked for holds, the words are gone"
        assert "Shorter, please." in "\n".join(after.explain())
        (turn,) = ada.list(kinds=["turn"])
        assert ada.forget(turn.id) == 1
        assert bytes_with(tmp_path, "shorter") == []
        assert bytes_with(tmp_path, "quokka-7")
        # What a writer leaves that is killed in the middle of its file.
        key = Owner.of("quokka-7").key
        (tmp_path / "personality" / f".{key}.abc.tmp").write_text("quokka-7, half", "utf-8")
        assert ada.forget_everything() == 0
        assert bytes_with(tmp_path, "quokka-7") == []
        assert Personality(character, "quokka-7", store.states).explain() == []


def test_a_damaged_personality_keeps_no_memory_from_being_forgotten(tmp_path):
    told: list[str] = []
    with opened(tmp_path) as store:
        store.when_forgotten.append(told.append)
        ada = store.user("ada")
        ada.remember("I'm allergic to walnuts.")
        Personality(load_character("coda"), "ada", store.states).feedback("Shorter, please.")
        (file,) = (tmp_path / "personality").glob("*.json")
        file.write_text("{")
        with pytest.raises(MemoryStoreError, match="Delete the file"):
            ada.forget_matching("walnuts")
        assert told == ["ada"], "who tells memories must know"
        assert ada.count() == 0 and bytes_with(tmp_path, "walnut") == []


def test_only_the_user_s_words_become_facts_about_the_user(store):
    manager = CodaMemory(store.user("ada"), "c1")
    manager.add_turn("user", "I like tea.")
    manager.add_turn("assistant", "I like coffee and I live in Rome.")
    asyncio.run(manager.consolidate_short_term())
    fact = asyncio.run(manager.store_fact("The user lives in Oslo", source="assistant"))
    kept = {m.id: m for m in store.user("ada").list()}
    assert {m.text for m in kept.values() if m.kind in ("fact", "preference")} == {
        "The user likes tea."
    }
    assert kept[fact].kind == "note"
    assert as_facts(kept[fact]) == ['Noted by the assistant: "The user lives in Oslo"']
    assert not any("coffee" in m.text for m in kept.values())


def test_questions_wishes_and_others_words_are_no_facts(store):
    for text in (
        "Do you know where I live?",
        "If I lived in Rome I would be happy.",
        "I wish I had a dog.",
        "My friend said I live in Rome.",
        "I'd like a coffee.",
    ):
        assert [m.kind for m in store.user("ada").turn(text)] == ["turn"], text


def test_the_store_is_bounded_and_keeps_what_matters(tmp_path):
    with opened(tmp_path, max_memories=100) as store:
        ada = store.user("ada")
        ada.remember("I'm allergic to penicillin.", at=NOW - timedelta(days=300))
        for number in range(160):
            ada.remember(f"Some small talk, number {number}.", at=NOW - timedelta(hours=number))
        assert ada.count() <= 120
        assert store.upkeep.evicted > 0
        assert "penicillin" in ada.search("penicillin")[0].memory.text
        texts = [m.text for m in ada.list()]
        assert "Some small talk, number 159." in texts or len(texts) <= 120


def test_searching_stays_quick_after_many_single_writes(tmp_path):
    """Without upkeep 120 writes leave 120 files; with it a handful, and nothing is lost."""
    with opened(tmp_path) as store:
        ada = store.user("ada")
        for number in range(120):
            ada.remember(f"Entry {number} of the diary.")
        data = list(tmp_path.glob("u*.lance/data/*.lance"))
        stats = store.read(
            store.tables.users()[0], lambda table: table.stats()["fragment_stats"]["num_fragments"]
        )
        assert stats is not None and stats <= 25
        assert len(data) < 400
        assert ada.count() == 120
        assert ada.search("entry 90 diary")[0].memory.text == "Entry 90 of the diary."


def test_search_finds_what_comparing_with_everything_finds(tmp_path):
    """recall@10 of 1,000 memories against brute force."""
    generator = np.random.default_rng(3)
    vectors = unit(generator.standard_normal((1_000, 256)).astype(np.float32))
    memories = [
        Memory(id=new_id(NOW) + f"{n}", text=f"memory {n}", created_at=NOW) for n in range(1_000)
    ]
    with opened(tmp_path) as store:
        ada = store.user("ada")
        store.writer.commit(Owner.of("ada"), memories, vectors)
        right = 0
        for _ in range(50):
            query = unit(generator.standard_normal((1, 256)).astype(np.float32))[0]
            best = {memories[i].id for i in np.argsort(-(vectors @ query))[:10]}
            hits = ada.search_vector("?", query, 10, ranking="vector")
            right += len(best & {hit.memory.id for hit in hits})
        assert right >= 0.98 * 500


def test_vectors_of_two_models_are_never_mixed(tmp_path):
    with opened(tmp_path) as store:
        store.user("ada").remember("I like chess.")
    with pytest.raises(MemoryModelError, match="reembed --model all-MiniLM-L6-v2"):
        MemoryStore(tmp_path)


def test_changing_the_model_embeds_everything_anew(tmp_path):
    with opened(tmp_path) as store, opened(tmp_path) as second:
        for name in ("ada", "ben"):
            store.user(name).remember(f"I like chess, says {name}.")
        seen = []
        before = list(export_lines(store))
        assert reembed(str(tmp_path), "all-MiniLM-L6-v2", lambda *done: seen.append(done)) == 4
        assert seen[-1] == (4, 4)
        with pytest.raises(MemoryModelError):
            second.user("ada").remember("I like go.")
    with MemoryStore(tmp_path) as store:
        assert list(export_lines(store)) == before
        assert "chess" in store.user("ben").search("board games I enjoy")[0].memory.text
        assert len(store.tables.names()) == 3


class CutShort(BaseException):
    """Stands for a kill."""


def cut_short(*_):
    raise CutShort


def test_a_change_of_the_model_cut_short_leaves_nothing_of_what_is_forgotten(tmp_path):
    with opened(tmp_path) as store:
        for name in ("ada", "quokka-7"):
            store.user(name).remember("I like zebrafinches.")
        with pytest.raises(CutShort):  # when the first of the two has her copy
            reembed(
                str(tmp_path),
                "all-MiniLM-L6-v2",
                lambda done, _: cut_short() if done > 2 else None,
            )
        assert len(store.tables.names()) > 3
        # the one who has the store open, and does not know
        assert store.user("ada").forget_matching("zebra") == 2
        assert store.user("quokka-7").forget_everything() == 2
        assert bytes_with(tmp_path, "zebrafinch", "quokka-7") == []
        assert reembed(str(tmp_path), "all-MiniLM-L6-v2") == 0


def test_copies_of_a_change_cut_short_go_at_the_next_opening(tmp_path, monkeypatch):
    """After the store has changed over; what is forgotten later must not come back either."""
    with opened(tmp_path) as store:
        store.user("ada").remember("I like zebrafinches.")
    with monkeypatch.context() as patched, pytest.raises(CutShort):
        patched.setattr(Tables, "drop", cut_short)
        reembed(str(tmp_path), "all-MiniLM-L6-v2")
    with MemoryStore(tmp_path) as store:
        assert store.user("ada").search("zebrafinches")
        store.user("ada").remember("I like rowing.")
        assert len(store.tables.names()) == 2
        store.user("ada").forget_matching("zebra")
        assert bytes_with(tmp_path, "zebrafinch") == []
    reembed(str(tmp_path), HASHED_WORDS)
    with opened(tmp_path) as store:
        assert {m.text for m in store.user("ada").list()} == {
            "I like rowing.",
            "The user likes rowing.",
        }


def test_who_opened_the_store_before_the_model_changed_is_told_when_forgetting(tmp_path):
    with opened(tmp_path) as store:
        store.user("ada").remember("I like zebrafinches.")
        reembed(str(tmp_path), "all-MiniLM-L6-v2")
        with pytest.raises(MemoryModelError):
            store.user("ada").forget_everything()


def test_export_and_import_give_the_same_memories(tmp_path):
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        one.user("ada").remember("I live in Paris.", at=NOW - timedelta(days=9))
        one.user("ada").remember('I live in Berlin 🥨 "now".\nReally.')
        one.user("用户").remember("我喜欢下棋")
        lines = list(export_lines(one))
        assert import_lines(two, lines) == 5
        assert import_lines(two, lines) == 0
        assert list(export_lines(two)) == lines
        assert json.loads(lines[0])["user_id"] == "ada"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is no JSON"),
        ("[1]", "line 2 is no JSON object"),
        ("[" * 100_000, "line 2 is no JSON"),
        ("1" * 5_000, "line 2 is no JSON"),
        ('{"user_id": " ", "id": "1", "text": "x"}', "line 2: a user id is a text"),
        ('{"text": "x"}', 'line 2 has no "user_id"'),
        ('{"user_id": "a", "id": "1", "text": ""}', "line 2 is no memory: text"),
        ('{"user_id": "a", "id": "1\'", "text": "x", "created_at": "2026-01-01T00:00:00Z"}', "id"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(store, line, says):
    good = '{"user_id": "a", "id": "1", "text": "x", "created_at": "2026-01-01T00:00:00Z"}'
    with pytest.raises(ValidationError, match=says):
        import_lines(store, [good, line])
    assert list(store.users()) == []


def test_a_closed_store_says_so(tmp_path):
    store = opened(tmp_path)
    store.close()
    store.close()
    with pytest.raises(MemoryStoreError, match="closed"):
        store.user("ada").remember("I like chess.")


@pytest.mark.parametrize("text", ["", "   ", "x" * 9_000, "half \ud800"])
def test_what_cannot_be_remembered_is_refused(store, text):
    with pytest.raises(ValidationError):
        store.user("ada").remember(text)
    with pytest.raises(ValidationError):
        store.user("ada").remember_fact(text, source="assistant")


def test_coda_s_interface_as_coda_calls_it(store):
    manager = CodaMemory(store.user("ada"))
    require_methods("memory", manager)

    async def conversation():
        manager.add_turn("user", "I like chess.")
        manager.add_turn("assistant", "Who does not?")
        assert await manager.consolidate_short_term() == 1
        fact_id = await manager.store_fact("The user plays chess on Mondays", importance=0.9)
        await manager.store_interaction("s1", "My cat is called Biscuit.", "Lovely!", {})
        results = await manager.search_memories(query="chess", limit=5, min_relevance=0.1)
        best = results[0]
        assert "chess" in best.memory.content
        assert 0 < best.memory.metadata.importance <= 1
        assert best.memory.created_at.tzinfo is not None
        assert 0.1 <= best.relevance_score <= 1.0001
        assert 0 <= best.time_decay_factor <= 1
        assert best.final_score >= results[-1].final_score
        assert fact_id in {result.memory.id for result in results}
        context = manager.get_context(max_tokens=800)
        assert context[0] == {"role": "user", "content": "I like chess."}
        assert manager.get_context(max_tokens=3) == [{"role": "assistant", "content": "Lovely!"}]
        enhanced = await manager.get_enhanced_context("Do I like chess?", 800, 3)
        assert enhanced[0]["role"] == "system" and "never instructions" in enhanced[0]["content"]
        assert any("chess" in told for told in quoted_memories(enhanced[0]["content"]))

    asyncio.run(conversation())


def test_who_puts_himself_right_in_coda_s_next_turn_is_understood(store):
    clock = count()
    store.now = lambda: NOW + timedelta(seconds=next(clock))
    manager = CodaMemory(store.user("ada"))

    async def conversation():
        for role, said in (
            ("user", "my name is lea"),
            ("assistant", "Hello Lea."),
            ("user", "i mean lena"),
        ):
            manager.add_turn(role, said)
        await manager.consolidate_short_term()

    asyncio.run(conversation())
    assert [fact.text for fact in store.user("ada").facts()] == ["The user's name is lena."]


class SyncManager:
    """A Coda-shaped manager whose methods are plain, with results as mappings."""

    def __init__(self):
        self.calls = []

    def add_turn(self, role, content):
        self.calls.append(("add_turn", role, content))

    def search_memories(self, query, limit=5, min_relevance=0.0):
        self.calls.append(("search_memories", query, limit))
        memory = {
            "content": "The user likes chess",
            "metadata": {"importance": 0.8},
            "created_at": datetime(2026, 1, 1),
        }
        return [{"memory": memory, "relevance_score": 0.9, "final_score": 0.7}]


class AsyncManager(SyncManager):
    async def add_turn(self, role, content):
        SyncManager.add_turn(self, role, content)

    async def search_memories(self, query, limit=5, min_relevance=0.0):
        return SyncManager.search_memories(self, query, limit, min_relevance)


@pytest.mark.parametrize("kind", [SyncManager, AsyncManager])
def test_coda_s_manager_is_a_source_of_memories(kind):
    manager = kind()
    source = CodaSource(manager)
    asyncio.run(source.add_turn("user", "hello"))
    (hit,) = asyncio.run(source.search("what do I like", 3))
    assert (hit.memory.text, hit.relevance, hit.score) == ("The user likes chess", 0.9, 0.7)
    assert hit.memory.importance == 0.8
    assert manager.calls == [
        ("add_turn", "user", "hello"),
        ("search_memories", "what do I like", 3),
    ]


def test_a_manager_with_results_of_another_shape_is_told_what_is_missing():
    class Odd(SyncManager):
        def search_memories(self, query, limit=5, min_relevance=0.0):
            return ["chess"]

    with pytest.raises(IntegrationError, match=r"\.memory\.content"):
        asyncio.run(CodaSource(Odd()).search("x"))


def test_the_command_line_from_adding_to_forgetting(tmp_path):
    store = str(tmp_path / "store")

    def run(*words: str):
        options = ["--store", store]
        result = CliRunner().invoke(
            command_line("memory"), ["memory", *words, *options], env={"COLUMNS": "200"}
        )
        assert result.exit_code == 0, result.output
        return result.output

    opened(Path(store)).close()
    with opened(Path(store)) as made:
        made.user("other").remember("I like rowing.")  # so that the store holds hashed-words
    assert "The user likes chess" in run("add", "I like chess.", "--user", "ada")
    assert "I like chess." in run("search", "chess", "--user", "ada")
    assert "rowing" not in run("list", "--user", "ada")
    assert "ada" in run("stats")
    file = tmp_path / "out.jsonl"
    assert "2 memories" in run("export", str(file), "--user", "ada")
    assert "2 forgotten." in run("forget", "--all", "--user", "ada")
    assert "Nothing is known of ada" in run("list", "--user", "ada")
    assert "2 imported." in run("import", str(file))
    assert "The user likes chess" in run("list", "--user", "ada")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\n", "\r\n"])
def test_a_file_of_memories_is_read_again_whatever_separates_their_lines(tmp_path, separator):
    said, file = f"Bread.{separator}Milk.", tmp_path / "out.jsonl"
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        one.user("ada").remember(said)
        two.user("other").remember("I like rowing.")  # so that the store holds hashed-words
    for words in (["export", "--store", "one"], ["import", "--store", "two"]):
        words = [*words[:1], str(file), words[1], str(tmp_path / words[2])]
        result = CliRunner().invoke(command_line("memory"), ["memory", *words])
        assert result.exit_code == 0, result.output
    with opened(tmp_path / "two") as two:
        assert [memory.text for memory in two.user("ada").list()] == [said]


def test_names_and_folders_are_shown_as_they_are(tmp_path):
    store, user = str(tmp_path / "[red]store"), "[/ada]"
    opened(Path(store)).close()
    shown = {}
    for words in (["list", "--user", user], ["stats"]):
        result = CliRunner().invoke(command_line("memory"), ["memory", *words, "--store", store])
        assert result.exit_code == 0, result.output
        shown[words[0]] = result.output.replace("\n", "")
    assert f"Nothing is known of {user}." in shown["list"]
    assert store in shown["stats"]


@pytest.mark.parametrize("words", ["list", "stats", "export", "search tea", "forget 1"])
def test_a_store_that_is_not_there_is_said_to_be_missing_and_not_made(tmp_path, words: str):
    words = ["memory", *words.split(), "--store", str(tmp_path / "memroy")]
    result = CliRunner().invoke(command_line("memory"), words)
    assert isinstance(result.exception, ValidationError)
    assert "There is no store of memories at" in result.exception.message
    assert not (tmp_path / "memroy").exists()


def test_forgetting_says_which_ids_are_of_no_memory(tmp_path):
    opened(tmp_path).close()
    words = ["memory", "forget", "0123", "--store", str(tmp_path)]
    result = CliRunner().invoke(command_line("memory"), words)
    assert result.output == "0 forgotten. 1 of the ids are of no memory of me.\n"


def grown(store: MemoryStore, rows: int) -> tuple[list[Memory], np.ndarray]:
    """Give ada ``rows`` memories at once, with vectors in clusters."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((40, 256))
    noise = generator.standard_normal((rows, 256))
    vectors = unit((centres[generator.integers(0, 40, rows)] + noise).astype(np.float32))
    memories = [
        Memory(id=f"{new_id(NOW)}{n}", text=f"memory {n}", created_at=NOW) for n in range(rows)
    ]
    store.writer.call(lambda: store.writer.commit(Owner.of("ada"), memories, vectors)).result()
    return memories, vectors


def vector_segments(store: MemoryStore) -> int:
    def look(table):
        found = [i.num_segments for i in table.list_indices() if i.columns == ["vector"]]
        return found[0] if found else 0

    return store.read(store.tables.users()[0], look) or 0


def test_a_large_store_gets_an_index_that_finds_the_same_and_never_falls_to_pieces(
    tmp_path, monkeypatch
):
    """Each compaction adds a segment to the index and a file beside it: both must stay few."""
    monkeypatch.setattr(upkeep, "VECTOR_INDEX_ROWS", 2_000)
    monkeypatch.setattr(upkeep, "SEGMENTS", 3)
    monkeypatch.setattr(upkeep, "PARTITION_ROWS", 500)
    monkeypatch.setattr(upkeep, "WRITES_BEFORE_OPTIMIZE", 8)
    with opened(tmp_path) as store:
        ada = store.user("ada")
        memories, vectors = grown(store, 5_000)
        name = store.tables.users()[0]
        most_segments = 0
        for number in range(10 * upkeep.WRITES_BEFORE_OPTIMIZE):
            ada.append([Memory(id=f"w{number}", text=f"write {number}", created_at=NOW)]).result()
            most_segments = max(most_segments, vector_segments(store))
        assert 2 <= most_segments <= 4
        files = store.read(name, lambda table: table.stats()["fragment_stats"]["num_fragments"])
        assert files is not None and files <= 4 + upkeep.WRITES_BEFORE_OPTIMIZE
        unlike = unit(np.random.default_rng(4).standard_normal((50, 256)).astype(np.float32))
        for asked in (vectors[::100], unlike):
            right = 0
            for query in asked:
                best = {memories[i].id for i in np.argsort(-(vectors @ query))[:10]}
                hits = ada.search_vector("?", query, 10, ranking="vector")
                right += len(best & {hit.memory.id for hit in hits})
            assert right >= 0.98 * 500
        assert ada.search("write 77", 1)[0].memory.text == "write 77"
        plan = store.read(
            name, lambda table: table.search(vectors[0]).nprobes(2).limit(10).analyze_plan()
        )
        compared = re.search(r"index_comparisons=([\d.]+)( K)?", plan or "")
        assert compared is not None
        rows = float(compared[1]) * (1_000 if compared[2] else 1)
        assert rows < 0.5 * 5_000, "after all that upkeep it still looks at a part of the store"


def test_after_forgetting_a_large_store_has_its_index_again(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "VECTOR_INDEX_ROWS", 2_000)
    with opened(tmp_path) as store:
        memories, _ = grown(store, 3_000)
        assert store.user("ada").forget(memories[5].id) == 1
        store.writer.call(lambda: None).result()
        assert vector_segments(store) == 1
    for number, change in enumerate((without_index, with_an_earlier_version_s)):
        with opened(tmp_path) as store:
            table = store.tables.open(store.tables.users()[0])
            assert table is not None
            change(table)
            one = Memory(id=f"one{number}", text="one", created_at=NOW)
            store.user("ada").append([one]).result()
            store.writer.call(lambda: None).result()
            table = store.tables.open(store.tables.users()[0])
            assert table is not None
            kinds = {i.index_type for i in table.list_indices() if i.columns == ["vector"]}
            assert kinds == {"IvfRq"} and vector_segments(store) == 1


def without_index(table: LanceTable) -> None:
    """As after an import: it is made at the first write."""
    table.drop_index("vector_idx")


def with_an_earlier_version_s(table: LanceTable) -> None:
    table.create_index("vector", config=IvfFlat(distance_type="cosine"), replace=True)


def test_vectors_of_an_odd_length_get_an_index_too():
    assert isinstance(upkeep.vector_index(384), IvfRq)
    assert isinstance(upkeep.vector_index(300), IvfFlat)
