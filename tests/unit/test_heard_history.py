"""What the LLM is told of the talk: in the order in which it was meant."""

from coda_voice.hybrid.heard_history import HeardHistory


def said(history: HeardHistory, before: int = 99) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in history.before(before)]


def test_an_answer_that_was_heard_before_the_turn_was_known_to_be_over_comes_after_it():
    history = HeardHistory()
    history.user(1, "hello")
    history.agent(2, ["seven"], answer=True)
    history.user(2, "what is three plus four")
    assert said(history) == [
        ("user", "hello"),
        ("user", "what is three plus four"),
        ("assistant", "seven"),
    ]


def test_what_the_agent_was_saying_when_the_user_began_stays_before_it():
    history = HeardHistory()
    history.agent(2, ["let", "me", "check"])
    history.user(2, "stop")
    assert said(history) == [("assistant", "let me check"), ("user", "stop")]


def test_a_longer_version_of_a_turn_takes_the_place_of_the_shorter():
    history = HeardHistory()
    history.user(1, "what is the weather")
    history.agent(1, ["rain"], answer=True)
    history.user(1, "what is the weather in rome")
    assert said(history) == [("user", "what is the weather in rome"), ("assistant", "rain")]


def test_the_oldest_go_first():
    history = HeardHistory(most=2)
    for number in range(4):
        history.user(number, str(number))
    assert said(history) == [("user", "2"), ("user", "3")]
