"""Facts from the user's words, times from questions, and which fact replaces which."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from coda_memory.asking import answers, asked_subjects
from coda_memory.corrections import put_right
from coda_memory.distill import distill, fact_as_ruled
from coda_memory.doubt import not_meant
from coda_memory.embedding import HashedWords
from coda_memory.supersede import denies_another
from coda_memory.timespan import timespan

MONDAY = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "fact", "subject"),
    [
        ("Hi, my name is Ada.", "The user's name is Ada.", "name"),
        ("I live in Paris, near the river.", "The user lives in Paris.", "home"),
        ("We moved to Geelong last week.", "The user lives in Geelong.", "home"),
        ("I really like chess.", "The user likes chess.", "likes chess"),
        ("I don’t like chess any more.", "The user does not like chess.", "likes chess"),
        ("I hate the smell of paint", "The user does not like the smell of paint.", None),
        ("I'm allergic to walnuts!", "The user is allergic to walnuts.", "allergic walnuts"),
        ("My favourite colour is blue.", "The user's favourite colour is blue.", None),
        ("my favorite colour is now red", "The user's favourite colour is red.", None),
        ("My cat is called Biscuit.", "The user's cat is called Biscuit.", "name of cat"),
        ("I work as a nurse.", "The user works as a nurse.", "job"),
        ("I'm a retired nurse now.", "The user is a retired nurse.", "job"),
        ("Remember that the key is under the mat.", None, None),
        ("please remember that i like tea", "The user likes tea.", "likes tea"),
        ("remember my name is Anna", "The user's name is Anna.", "name"),
        ("I drive an old Renault.", "The user drives an old Renault.", "car"),
        ("my dog's name is Rex", "The user's dog is called Rex.", "name of dog"),
        ("my son's birthday is in May", "The user's son's birthday is in May.", None),
        ("I no longer live in Berlin", "The user no longer lives in Berlin.", "home"),
        ("I don't have a dog anymore", "The user does not have a dog.", "has dog"),
        ("I sold my car", "The user sold their car.", "has car"),
        ("I'm not allergic to nuts", "The user is not allergic to nuts.", "allergic nuts"),
        ("I live in Paris. Sorry, I live in Rome.", "The user lives in Rome.", "home"),
        ("I was born in Lagos but left early", "The user was born in Lagos.", "born where"),
        ("i was born in nineteen eighty", "The user was born in nineteen eighty.", "born when"),
        ("I was born in May and my sister in June", "The user was born in May.", "born when"),
        ("I was born in Rome sorry Milan", "The user was born in Milan.", "born where"),
        ("I was raised in Bern", "The user grew up in Bern.", "grew up"),
        ("I grew up on a farm", "The user grew up on a farm.", "grew up"),
        ("I'm Catholic.", "The user is Catholic.", "faith"),
        ("I'm not a Christian", "The user is not a Christian.", "faith"),
        ("I'm an only child", "The user is an only child.", "only child"),
        ("I can not swim", "The user cannot swim.", "can swim"),
        ("I can play the piano.", "The user can play the piano.", "can play the piano"),
        ("I collect stamps", "The user collects stamps.", "collects stamps"),
        ("I am 42 years of age", "The user is 42 years old.", "age"),
        ("my age is forty two", "The user is forty two years old.", "age"),
        ("I suffer from migraines", "The user has migraines.", "health migraines"),
        ("I'm scared of flying", "The user is afraid of flying.", "afraid flying"),
        ("I'm not afraid of dogs any more", "The user is not afraid of dogs.", "afraid dogs"),
        ("I'm left-handed.", "The user is left-handed.", "handed"),
        ("my pronouns are they and them", "The user's pronouns are they and them.", "pronouns"),
        ("I wear glasses for reading", "The user wears glasses.", "wears glasses"),
        ("I don't wear glasses anymore", "The user does not wear glasses.", "wears glasses"),
        ("I've been vegetarian since I was ten", "The user is vegetarian.", "diet"),
        ("I like films with no end", "The user likes films with no end.", None),
        ("call me Ada", "The user is called Ada.", "name"),
        ("Don't forget I'm allergic to nuts.", "The user is allergic to nuts.", None),
        ("I said my name is Ada.", "The user's name is Ada.", "name"),
        ("I used to live in Paris but now I live in Berlin", "The user lives in Berlin.", "home"),
        ("i used to live in paris now i live in berlin", "The user lives in berlin.", "home"),
        ("i used to like tea but these days i like coffee", "The user likes coffee.", None),
        ("i wish i lived in rome but i live in bern", "The user lives in bern.", "home"),
        ("we sold the car", "The user sold their car.", "has car"),
        ("i don't have the dog any more", "The user no longer has their dog.", "has dog"),
        ("i no longer drive the renault", "The user no longer drives the renault.", "car"),
        ("i stopped driving my car", "The user no longer drives their car.", "car"),
        ("we live near the river", "The user lives near the river.", None),
        ("i live in a small house in rome", "The user lives in a small house in rome.", "home"),
        ("i work with children", "The user works with children.", "works with children"),
        ("i'm thirty", "The user is thirty years old.", "age"),
        ("i am thirty two years old", "The user is thirty two years old.", "age"),
        ("my email is ada@example.com", "The user's email is ada@example.com.", "email"),
        ("my name is sean o'connor", "The user's name is sean o'connor.", "name"),
        ("write down that i like tea", "The user likes tea.", None),
        ("let me tell you i like tea", "The user likes tea.", None),
        ("my dog died last week", "The user's dog died.", "has dog"),
        ("i bought a second hand wetsuit", "The user has a second hand wetsuit.", None),
        ("i have a coffee machine", "The user has a coffee machine.", None),
        ("we have a dog", "The user has a dog.", "has dog"),
        ("I have two kids", "The user has two kids.", "has kid"),
        ("we don't have any kids", "The user does not have any kids.", "has kid"),
    ],
)
def test_a_fact_is_read_from_a_sentence(said, fact, subject):
    facts = distill(said)
    assert len(facts) == 1
    if fact is not None:
        assert facts[0].text == fact
    if subject is not None:
        assert facts[0].subject == subject


@pytest.mark.parametrize(
    "said",
    [
        "What is my name?",
        "do you remember that i like tea",
        "I would like a coffee.",
        "If I live in Rome one day, I will buy a scooter.",
        "He said I like him.",
        "I used to live in Rome.",
        "I like it.",
        "You live in Rome.",
        "The weather is nice.",
        "do i like tea",
        "is it true that i like tea",
        "should i have a dog",
        "I don't think I like chess",
        "I didn't say I like chess",
        "Forget that I like tea.",
        "please forget my name is Ada",
        "Don't remember that I like tea.",
        "You said my name is Bob.",
        "you think my name is Bob",
        "My brother told me my name is Bob.",
        "It is false that I live in Paris.",
        "I wonder whether I am allergic to nuts",
        "She asked if my name is Bob",
        "I hope I'm not allergic to nuts.",
        "I don't want to say I like chess",
        "I work as hard as I can",
        "I was born in the wrong century",
        "I live on coffee",
        "I'm living on my savings",
        "I hate to admit it",
        "I'm single-minded",
        "I'm Christian, nice to meet you",
        "I can cook tonight",
        "can I play the piano",
        "I collect my kids at three",
        "my brother lives in the past",
        "my brother was born in Rome",
        "I wasn't born in Rome",
        "I'm afraid so",
        "I was scared of flying",
        "I don't work as much anymore",
        "call me later",
        "call me crazy but i like it",
        "call me up sometime",
        "call me for dinner",
        "call me every day",
        "call me on monday",
        "call me monday",
        "call me today",
        "call me whatever you want",
        "call me once you are home",
        "they laugh and call me shorty",
        "do you think i live in paris",
        "would you say i'm a teacher",
        "could you remember that i might like tea",
        "my name is on the list",
        "we moved into the kitchen",
        "I work at night",
        "I'm engaged in a project",
        "I'm moving to Paris next year",
        "my wife's car is red",
        "I have a headache",
        "i have a really bad cold",
        "I have a meeting.",
        "i have a question for you",
        "i've got a dentist appointment tomorrow",
        "i have two minutes",
        "i don't have a clue",
        "i bought a coffee",
        "my phone died",
        "my birthday is tomorrow",
        "my birthday is on friday",
        "i'm thirty minutes late",
        "i live in the past",
        "tell her i like tea",
        "send a message to anna saying i live in rome",
        "translate i like tea into french",
        "say my name is bob",
        "i dreamt that i have a dog",
        "in the game i'm a doctor",
        "let's play a game i'm a doctor and you are a patient",
        "i live in rome don't i",
        "i like tea right",
        "when i was five we moved to rome",
        "as a child i had a dog and we moved to rome",
        "if we lived in rome i have a dog",
        "if you think i like tea you're wrong",
        "i'd prefer tea",
        "she told him i like tea",
        "she said to me i live in rome",
        "the song goes i like big cars",
        "he claims my name is bob",
        "my sister lives in rome",
        "",
    ],
)
def test_what_is_no_fact_about_the_user_gives_none(said):
    assert distill(said) == []


def test_how_somebody_is_today_does_not_replace_who_they_are():
    for lasting, passing in [
        ("my wife is allergic to nuts", "my wife is late today"),
        ("my brother is a pilot", "my brother is visiting"),
        ("my wife is a teacher", "my wife is pregnant"),
        ("my brother is a pilot", "my brother is thirty two"),
        ("my wife is anna", "my wife is a doctor"),
        ("my wife is anna", "my wife is asleep"),
        ("my wife is anna", "my wife is the best"),
        ("my wife is a doctor", "my wife is a little late"),
        ("my brother is tom", "my brother is taller than me"),
    ]:
        assert distill(lasting)[0].subject != distill(passing)[0].subject
    assert distill("my brother is a pilot")[0].subject == distill("my brother is a cook")[0].subject


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I'm a vegetarian.", "I'm diabetic."),
        ("I'm lactose intolerant.", "I'm coeliac."),
        ("I'm married.", "I am pregnant."),
        ("I'm vegan.", "I'm not pregnant."),
    ],
)
def test_what_may_be_true_at_once_does_not_replace_each_other(one, other):
    both = distill(f"{one} {other}")
    assert [fact.text for fact in both] == [distill(said)[0].text for said in (one, other)]
    assert len({fact.subject for fact in both}) == 2


@pytest.mark.parametrize(
    ("was", "ended", "says"),
    [
        ("I'm pregnant", "I'm no longer pregnant", "The user is not pregnant."),
        ("I play chess.", "I don't play chess anymore.", "The user does not play chess."),
        ("I play the piano.", "I stopped playing the piano.", "The user does not play piano."),
        ("I speak French.", "I no longer speak French.", "The user does not speak French."),
        ("I'm a nurse.", "I'm no longer a nurse.", "The user is not a nurse."),
        ("I work as a nurse.", "I don't work as a nurse anymore.",
         "The user no longer works as a nurse."),
    ],
)  # fmt: skip
def test_what_has_ended_replaces_what_was_so(was, ended, says):
    before, (after,) = distill(was)[0], distill(ended)
    assert (after.text, after.subject) == (says, before.subject)
    assert fact_as_ruled(says) == after
    assert not denies_another(after.text, before.text)


def test_who_is_no_doctor_is_still_a_teacher():
    assert denies_another("The user is not a doctor.", "The user is a teacher.")
    assert [fact.text for fact in distill("I'm a teacher. I'm not a doctor.")] == [
        "The user is a teacher."
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("I live in Bern sorry Berlin", "The user lives in Berlin."),
        ("I live in Bern. Sorry, Berlin.", "The user lives in Berlin."),
        ("i live in bern no i meant berlin", "The user lives in berlin."),
        ("i live in bern no berlin", "The user lives in berlin."),
        ("i live in bern sorry i live in berlin", "The user lives in berlin."),
        ("my name is lea i mean lena", "The user's name is lena."),
        ("i like tea i mean coffee", "The user likes coffee."),
        ("i'm a nurse sorry a teacher", "The user is a teacher."),
        ("I have two dogs sorry three", "The user has three dogs."),
        ("I have two dogs, no, three cats", "The user has three cats."),
        ("I have a dog sorry two", "The user has two dogs."),
        ("I have one child i mean two", "The user has two children."),
        ("I have two dogs sorry to say", "The user has two dogs."),
        ("I'm forty years old sorry forty one", "The user is forty one years old."),
        (
            "my birthday is the third of may sorry the fourth",
            "The user's birthday is the fourth of may.",
        ),
        ("my birthday is the third of may sorry june", "The user's birthday is the third of june."),
        ("i live in bern sorry to bother you", "The user lives in bern."),
        ("i live in bern sorry what", "The user lives in bern."),
        ("i like tea no sugar", "The user likes tea."),
        ("my name is lea no problem", "The user's name is lea."),
        ("my name isn't bob it's rob", "The user's name is rob."),
    ],
)
def test_who_puts_himself_right_at_once_is_taken_at_the_last_word(said, meant):
    assert [fact.text for fact in distill(said)] == [meant]


@pytest.mark.parametrize(
    ("before", "turn", "meant"),
    [
        ("my city is bern", "sorry berlin", "The user lives in berlin."),
        ("I live in Bern.", "No, I meant Berlin.", "The user lives in Berlin."),
        ("i live in bern near the river", "oh sorry in berlin", "The user lives in berlin."),
        ("my name is lea", "i mean lena", "The user's name is lena."),
        ("my name is lea and i like tea", "sorry lena", "The user's name is lena."),
        ("my name is lea", "i said lena not lea", "The user's name is lena."),
        ("i have two dogs", "sorry three", "The user has three dogs."),
        ("i have two dogs", "sorry for three days", None),
        ("my name is lea", "sorry what did you say", None),
        ("my name is lea", "sorry coda", None),
        ("my name is lea", "sorry about that", None),
        ("my name is lea", "no coffee", None),
        ("i like tea", "sorry berlin", None),
        ("my name is lea and i live in bern", "sorry berlin", "The user lives in berlin."),
        ("do i live in bern", "sorry berlin", None),
        ("he says my name is lea", "sorry lena", None),
        ("you live in bern", "sorry berlin", None),
        ("", "sorry berlin", None),
    ],
)
def test_a_turn_may_put_the_one_before_right(before, turn, meant):
    assert [fact.text for fact in distill(put_right(turn, before))] == ([meant] if meant else [])


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ("i live in bern my name is lea", ["The user lives in bern.", "The user's name is lea."]),
        ("my name is lea nice to meet you", ["The user's name is lea."]),
        ("my name is lea what's yours", ["The user's name is lea."]),
        ("my favourite colour is blue i think", ["The user's favourite colour is blue."]),
        ("i like chess thanks", ["The user likes chess."]),
        ("my city is so loud", []),
        ("i'm allergic to nuts what can i eat", ["The user is allergic to nuts."]),
        ("i'm allergic to nuts is this safe", ["The user is allergic to nuts."]),
        ("i'm allergic to nuts remember that", ["The user is allergic to nuts."]),
        ("i live in berlin do you know it", ["The user lives in berlin."]),
        ("could you remember that i like tea", ["The user likes tea."]),
        ("i'm really allergic to peanuts", ["The user is allergic to peanuts."]),
        ("i'm also allergic to milk", ["The user is allergic to milk."]),
        ("you can call me anna", ["The user is called anna."]),
        ("call me anna from now on", ["The user is called anna."]),
        ("my name is actually anna", ["The user's name is anna."]),
        ("my mothers name is ruth", ["The user's mother is called ruth."]),
    ],
)
def test_what_is_said_without_full_stops_is_read_as_with_them(said, texts):
    assert [fact.text for fact in distill(said)] == texts


def test_two_things_that_somebody_has_end_apart():
    facts = [(fact.text, fact.subject) for fact in distill("i have a dog and two cats")]
    assert facts == [("The user has a dog.", "has dog"), ("The user has two cats.", "has cat")]


def test_the_same_thing_said_otherwise_has_the_same_subject():
    subjects = {
        distill(said)[0].subject
        for said in ("I love playing chess.", "I like chess a lot.", "I can't stand chess.")
    }
    assert subjects == {"likes chess"}


@pytest.mark.parametrize(
    ("question", "inside", "outside"),
    [
        ("what did I do yesterday", "2026-06-14T20:00", "2026-06-15T08:00"),
        ("what did I say this morning", "2026-06-15T08:00", "2026-06-14T08:00"),
        ("where was I last week", "2026-06-10T12:00", "2026-06-15T00:00"),
        ("where was I last month", "2026-05-02T12:00", "2026-06-02T12:00"),
        ("what happened in December", "2025-12-24T12:00", "2026-01-01T12:00"),
        ("who came on Friday", "2026-06-12T12:00", "2026-06-11T12:00"),
        ("what did I buy three days ago", "2026-06-12T12:00", "2026-06-10T12:00"),
        ("what did I buy two weeks ago", "2026-06-01T12:00", "2026-06-12T12:00"),
        ("what did I do last weekend", "2026-06-13T12:00", "2026-06-12T12:00"),
        ("where did I go last year", "2025-03-01T12:00", "2026-03-01T12:00"),
    ],
)
def test_a_question_names_its_time(question, inside, outside):
    span = timespan(question, MONDAY)
    assert span is not None
    assert span.holds(datetime.fromisoformat(inside).replace(tzinfo=UTC))
    assert not span.holds(datetime.fromisoformat(outside).replace(tzinfo=UTC))


def test_most_questions_are_about_any_time():
    assert timespan("what is my favourite colour", MONDAY) is None


def test_hashed_words_know_words_and_nothing_else():
    model = HashedWords()
    chess, board, rowing = model.embed(["I like chess", "chess I LIKE!", "rowing tomorrow"])
    assert float(chess @ board) > 0.999
    assert abs(float(chess @ rowing)) < 0.6


@pytest.mark.timeout(20)
@pytest.mark.parametrize("noise", ["sorry ", "no wait ", "oh, ", ",", " ", "i live in bern and "])
def test_a_long_turn_of_nothing_is_read_in_no_time(noise: str):
    """What is typed may be 60,000 characters of anything."""
    assert len(distill("I live in Bern. " + noise * (60_000 // len(noise)))) <= 1


@pytest.mark.parametrize(
    "said",
    [
        "I used to smoke but I quit last year",
        "I was told I'm a doctor",
        "I read that I have a twin",
        "I thought I had two cars",
        "not that I like jazz",
        "hypothetically I'm a pilot",
        "in my novel I live in Rome",
        "I play a doctor in the school play",
        "just kidding I live on the moon",
        "I live on Mars haha",
        "I live on the moon. Just kidding.",
        "I like snails. No, that's not true.",
        "I like neither tea nor coffee",
        "I like to think I'm funny",
        "I have three days off",
        "I moved from tea to coffee",
        "I quit my job next week",
        "I speak to my mother every day",
        "I think I have asthma",
        "my name is Bob, no it isn't",
        "my son is too",
        "I have ten minutes",
        "we are getting married in June",
        "I'm thinking of buying a Tesla",
        "everyone thinks I'm rich",
        "my neighbour has a dog",
    ],
)
def test_what_is_not_so_is_no_fact(said: str):
    """Of an evening's talk; better nothing than what is false."""
    assert distill(said) == []


@pytest.mark.parametrize(
    "said",
    [
        "we're moving to paris",
        "i can't eat right now",
        "i like your voice",
        "i like mine with milk",
        "i like where this is going",
        "i can't stand up",
        "i gave up my seat to an old lady",
        "i stopped the car",
        "i have my sister's dog this week",
        "i have a train to catch",
        "i got a haircut",
        "my name's not important",
        "i'm a good cook",
        "i'm a doctor's son",
        "i'm studying for my exam",
        "i'm playing a game",
        "i work in the garden",
        "just kidding i live on the moon",
    ],
)
def test_what_a_recogniser_writes_of_the_moment_is_no_fact(said: str):
    assert distill(said) == []


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("i'm learning to drive", {"learns drive": "is learning to drive"}),
        ("i prefer to walk", {"prefers walk": "prefers to walk"}),
        ("i'm an engineer by training", {"job": "is an engineer"}),
        ("i don't drive", {"car": "does not drive"}),
        ("i got a new job at siemens", {"workplace": "works at siemens"}),
        ("i started a new job as a baker last week", {"job": "works as a baker"}),
        ("i'm thirty two and i live in bern",
         {"age": "is thirty two years old", "home": "lives in bern"}),
        ("i have a brother called max", {"has brother": "has a brother called max"}),
        ("i have a dog called rex and a cat called tom",
         {"has dog": "has a dog called rex", "has cat": "has a cat called tom"}),
        ("i have a cat a dog and a horse",
         {"has cat": "has a cat", "has dog": "has a dog", "has horse": "has a horse"}),
        ("i have a cat and my sister has a dog", {"has cat": "has a cat"}),
        ("i have a degree in a science", {"has degree in a science": "has a degree in a science"}),
        ("i have type two diabetes", {"health diabetes": "has type two diabetes"}),
        ("as i said i live in bern", {"home": "lives in bern"}),
        ("i live on the moon just kidding i live in bern", {"home": "lives in bern"}),
    ],
)  # fmt: skip
def test_what_a_recogniser_writes_is_read_in_whole(said: str, facts: dict[str, str]):
    read = {fact.subject: fact.text for fact in distill(said)}
    assert read == {subject: f"The user {text}." for subject, text in facts.items()}


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ("my daughter is seven and my son is nine",
         ["The user's daughter is seven years old.", "The user's son is nine years old."]),
        ("our dog's called luna", ["The user's dog is called luna."]),
        ("my kids are called anna and ben", ["The user's kids are called anna and ben."]),
        ("my favourite song right now is yesterday",
         ["The user's favourite song is yesterday."]),
    ],
)  # fmt: skip
def test_what_belongs_to_the_user_is_told_as_it_is(said: str, texts: list[str]):
    assert [fact.text for fact in distill(said)] == texts


@pytest.mark.parametrize(
    ("turn", "besides"),
    [
        ("just kidding", ""),
        ("haha no i'm just kidding coda", ""),
        ("I was only joking.", ""),
        ("that was a joke", ""),
        ("i made that up", ""),
        ("i was joking about the moon", ""),
        ("just kidding i live in bern", "i live in bern"),
        ("i was joking about my boss", None),
        ("i'm joking around with my kids", None),
        ("are you kidding", None),
        ("no kidding", None),
        ("i'm not kidding", None),
        ("that's a joke my brother told me", None),
        ("i was lying in bed", None),
        ("i didn't mean that coffee is bad", None),
        ("that's not true", None),
        ("not really", None),
    ],
)
def test_a_turn_may_take_the_one_before_back(turn: str, besides: str | None):
    assert not_meant(turn, "I live on the moon") == besides


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ("my best friend is Tom and he lives in Rome", ["The user's best friend is Tom."]),
        ("my son is called Max he's seven", ["The user's son is called Max."]),
        ("I have a daughter she is five", ["The user has a daughter."]),
        (
            "my daughter's name is Mia and my son's name is Max",
            ["The user's daughter is called Mia.", "The user's son is called Max."],
        ),
        ("I'm not allergic to dogs just cats", ["The user is not allergic to dogs."]),
        ("I'm from Ghana originally", ["The user is from Ghana."]),
        (
            "I'm allergic to nuts, eggs, and milk.",
            [
                "The user is allergic to nuts.",
                "The user is allergic to eggs.",
                "The user is allergic to milk.",
            ],
        ),
        (
            "I don't eat meat, fish or eggs",
            [f"The user does not eat or drink {food}." for food in ("meat", "fish", "eggs")],
        ),
        (
            "I like tea, coffee and chess",
            ["The user likes tea.", "The user likes coffee.", "The user likes chess."],
        ),
        ("I like tea, she likes milk and sugar", ["The user likes tea."]),
        ("I'm allergic to nuts, please remember and tell me", ["The user is allergic to nuts."]),
        ("my full name is Elizabeth Stone", ["The user's full name is Elizabeth Stone."]),
        ("I moved from Lyon to Paris", ["The user lives in Paris."]),
        (
            "I was born in Lagos but grew up in London",
            ["The user was born in Lagos.", "The user grew up in London."],
        ),
        ("I've been living in Lyon", ["The user lives in Lyon."]),
        ("I was born on the fifth of May", ["The user's birthday is the fifth of May."]),
        ("I have six cats", ["The user has six cats."]),
        ("I quit smoking this year", ["The user gave up smoking this year."]),
        ("I have asthma", ["The user has asthma."]),
        ("I'm allergic to peanuts or maybe walnuts", ["The user is allergic to peanuts."]),
        ("I like swimming and so on", ["The user likes swimming."]),
        ("I live in Bern not Berlin", ["The user lives in Bern."]),
        ("I speak French and German", ["The user speaks French.", "The user speaks German."]),
    ],
)
def test_a_fact_ends_where_the_next_begins(said: str, texts: list[str]):
    assert [fact.text for fact in distill(said)] == texts


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("I'm married", "we got divorced last year"),
        ("I work as a nurse", "I lost my job"),
        ("I don't eat meat", "I eat meat again"),
        ("I'm allergic to cats and dogs", "I'm not allergic to dogs"),
        ("I don't eat meat, fish and eggs", "I eat fish again"),
        ("I speak French and German", "I don't speak German anymore"),
        ("my mother is eighty two", "my mother is eighty three"),
        ("I live in Lyon", "I moved from Lyon to Paris"),
        ("I have asthma", "I no longer have asthma"),
        ("I have six cats", "I don't have any cats anymore"),
    ],
)
def test_a_change_is_said_of_what_was_said_before(before: str, after: str):
    """On the same subject the newer fact supersedes the older."""
    (newer,) = distill(after)
    assert newer.subject in {fact.subject for fact in distill(before)}


@pytest.mark.parametrize(
    ("question", "subject", "answered"),
    [
        ("what is my name", "name", True),
        ("what is my name", "name of dog", False),
        ("when is my birthday", "birthday of sister", False),
        ("how old is my mother", "age of mother", True),
        ("do you know where I live", "home", True),
        ("where do I live", "home in flat", True),
        ("where was I born", "born where", True),
        ("where was I born", "born when", False),
        ("what year was I born", "born when", True),
        ("where did I grow up", "grew up", True),
        ("what can I not eat", "allergic walnuts", True),
        ("should I eat that", "consumes pork", True),
        ("what am I afraid of", "afraid flying", True),
    ],
)
def test_a_question_is_about_its_own_subject(question: str, subject: str, answered: bool):
    assert answers([subject], asked_subjects(question)) is answered
