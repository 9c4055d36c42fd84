"""Figures on what was told some turns ago: a name, other questions in between, "what is my name".

No bar of its own: the memory's benchmark has the same in real time, by ear, of twenty names. These
are monologues of 72 conversations, in which a name that the transcriber took for another counts as
remembered if it is the one that was greeted.
"""

from __future__ import annotations

import random
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from .bars_conversation import heard_and_quiet, pick, prompt_row, run_rows, words_of

if TYPE_CHECKING:
    from .evaluate import Bench

BETWEEN = ("feel", "thanks", "greet", "likes", "agent", "check")
MOST_BETWEEN = 3
AT_ONCE, QUIET, TO_ANSWER = 40, (40, 75), 45  # frames of silence behind each of the questions
EARLIEST = 12  # frames before the end of the last clip: it ends with silence
GREETED = "nice to meet you "


def greeted_name(said: str) -> str | None:
    """The name in "nice to meet you ada"."""
    name = said.partition(GREETED)[2].split()
    return name[0] if name else None


def recall_bars(bench: Bench, scale: float) -> list[dict[str, Any]]:
    """How many names are said again, and how often it claims to know none or says nothing."""
    rng, count = random.Random(4 + bench.variant), max(8, int(72 * scale))
    clips = {kind: pick(bench, (kind,), len(bench.lines)) for kind in (*BETWEEN, "name")}
    rows, names, begins, answers = [], [], [], []
    told = islice(cycle(pick(bench, ("introduce",), count)), count)
    for k, index in enumerate(told):
        heard = [heard_and_quiet(bench, index, AT_ONCE)]
        heard += [
            heard_and_quiet(bench, rng.choice(clips[kind]), rng.randint(*QUIET))
            for kind in rng.sample(BETWEEN, k % (MOST_BETWEEN + 1))
        ]
        asked = rng.choice(clips["name"])
        user = np.concatenate([*heard, heard_and_quiet(bench, asked, TO_ANSWER)], 1)
        prompt = f"your name is coda the user likes {rng.choice(bench.words.likes[:100])}"
        row, begin = prompt_row(bench, prompt if k % 2 else "your name is coda", user)
        rows.append(row)
        names.append(bench.lines[index].item)
        begins.append(begin)
        answers.append(row.user.shape[1] - TO_ANSWER - EARLIEST)
    right, greeted, unknown, mute = (np.zeros(count, bool) for _ in range(4))
    for k, (text, _) in enumerate(run_rows(bench, rows, seed=11)):
        before = words_of(bench, text[begins[k] : answers[k]])
        got = words_of(bench, text[answers[k] :])
        name = greeted_name(before)
        right[k] = got == f"your name is {names[k]}"
        greeted[k] = right[k] or (name is not None and got == f"your name is {name}")
        unknown[k], mute[k] = got.startswith("i do not know"), not got
    figures = [
        ("told: a name told is said when asked for", right),
        ("told: … or the one that was greeted", greeted),
        ("told: … says it does not know", unknown),
        ("told: … says nothing", mute),
    ]
    bars = [dict(name=f"5 {name}", value=float(hit.mean()), count=count) for name, hit in figures]
    for k in range(MOST_BETWEEN + 1):
        some = greeted[k :: MOST_BETWEEN + 1]
        name = f"5 told: … the one that was greeted, {k} questions later"
        bars.append(dict(name=name, value=float(some.mean()), count=len(some)))
    return bars
