"""The traits a character has: numbers from 0 to 1, and what the ends of each mean in words."""

from __future__ import annotations

from dataclasses import dataclass

from coda_voice.errors import ValidationError

LOW, HIGH = 0.35, 0.65
"""Between them a trait is unremarkable, and nothing is said of it."""
REACH = 0.5
"""How far feedback may move a trait from the character's own value."""


@dataclass(frozen=True, slots=True)
class Trait:
    """``low`` and ``high``: what the agent is told when the trait is there."""

    low: str
    high: str


TRAITS = {
    "verbosity": Trait("be brief", "explain in detail"),
    "humor": Trait("be serious and make no jokes", "make a joke now and then"),
    "formality": Trait("speak casually", "speak formally"),
    "warmth": Trait("be matter of fact", "be warm and friendly"),
    "proactivity": Trait("answer only what is asked", "suggest what may help"),
    "assertiveness": Trait("be careful with opinions", "be direct"),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which values feedback may move a trait."""

    low: float
    high: float

    def clamp(self, value: float) -> float:
        """The nearest value within."""
        return round(min(self.high, max(self.low, value)), 3)


def in_words(traits: dict[str, float]) -> list[str]:
    """What the remarkable ones of ``traits`` ask of the agent, the most remarkable first."""
    told = sorted(traits.items(), key=lambda entry: -abs(entry[1] - 0.5))
    return [
        TRAITS[name].low if value < 0.5 else TRAITS[name].high
        for name, value in told
        if value <= LOW or value >= HIGH
    ]


def check_trait(name: str) -> None:
    """Raise ValidationError for a trait that does not exist."""
    if name not in TRAITS:
        raise ValidationError(f"{name!r} is no trait; there are {', '.join(TRAITS)}.", "no_trait")
