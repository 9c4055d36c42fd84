"""Train the router's classifier on the labelled utterances and write its weights.

    python -m scripts.train_router

Learns from four fifths, prints the confusion table of the held-out fifth for rules and
classifier together, and a stricter figure: five-fold cross-validation over whole ideas, so
that no phrasing of a tested idea was ever seen.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from coda_voice.hybrid.intent_classifier import IntentClassifier, features
from coda_voice.hybrid.labelled_utterances import Utterance, read_utterances
from coda_voice.hybrid.route_rules import KINDS, matching_rule, normalised

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests/data/router_utterances.txt"
WEIGHTS = ROOT / "coda_voice/hybrid/intent_weights.json"
DECAY = 0.01
STEPS = 400


def train(utterances: list[Utterance]) -> dict[str, list[float]]:
    """Fit a softmax regression by full-batch gradient descent with momentum."""
    rows = [list(features(normalised(u.text), u.previous is not None)) for u in utterances]
    names = ["", *sorted({name for row in rows for name in row})]
    index = {name: at for at, name in enumerate(names)}
    inputs = np.zeros((len(rows), len(names)), np.float32)
    inputs[:, 0] = 1.0
    for at, row in enumerate(rows):
        inputs[at, [index[name] for name in row]] = 1.0
    wanted = np.eye(len(KINDS), dtype=np.float32)[[KINDS.index(u.kind) for u in utterances]]
    weights = np.zeros((len(names), len(KINDS)), np.float32)
    speed = np.zeros_like(weights)
    for _ in range(STEPS):
        scores = inputs @ weights
        guessed = np.exp(scores - scores.max(1, keepdims=True))
        guessed /= guessed.sum(1, keepdims=True)
        slope = inputs.T @ (guessed - wanted) / len(rows) + DECAY * weights
        speed = 0.9 * speed - 0.05 * slope
        weights += speed
    strong = [at for at in range(len(names)) if at == 0 or np.abs(weights[at]).max() > 0.03]
    return {names[at]: [round(float(w), 2) for w in weights[at]] for at in strong}


def kind_of(utterance: Utterance, classifier: IntentClassifier) -> str:
    """Give the kind that rules, then classifier, find."""
    words = normalised(utterance.text)
    rule = matching_rule(words, utterance.previous is not None)
    if rule:
        return rule.kind
    found = classifier.probabilities(words, utterance.previous is not None)
    return max(found, key=lambda kind: found[kind])


def right(utterances: list[Utterance], classifier: IntentClassifier) -> float:
    """Give the share of utterances whose kind is found."""
    return sum(kind_of(u, classifier) == u.kind for u in utterances) / len(utterances)


def main() -> None:
    """Train, report, write."""
    utterances = read_utterances(DATA)
    learnt = [u for u in utterances if not u.held_out]
    held = [u for u in utterances if u.held_out]
    weights = train(learnt)
    classifier = IntentClassifier(weights)
    print(f"{len(learnt)} to learn from: {right(learnt, classifier):.1%} right")
    print(f"{len(held)} held out: {right(held, classifier):.1%} right")
    print("| is \\ found | " + " | ".join(KINDS) + " |\n" + "|---" * (len(KINDS) + 1) + "|")
    for kind in KINDS:
        found = [kind_of(u, classifier) for u in held if u.kind == kind]
        print(f"| {kind} | " + " | ".join(str(found.count(other)) for other in KINDS) + " |")
    folds = [
        right(
            [u for u in utterances if u.idea % 5 == fold],
            IntentClassifier(train([u for u in utterances if u.idea % 5 != fold])),
        )
        for fold in range(5)
    ]
    print(f"whole ideas unseen, five folds: {np.mean(folds):.1%} right")
    for u in learnt:
        if (found_kind := kind_of(u, classifier)) != u.kind:
            rule = matching_rule(normalised(u.text), u.previous is not None)
            print(f"  learnt, yet {found_kind}: [{u.kind}] {u.text} ({rule.name if rule else '-'})")
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in weights.items())
    WEIGHTS.write_text("{" + rows + "}\n", "utf-8")
    print(f"{len(weights)} features, {WEIGHTS.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
