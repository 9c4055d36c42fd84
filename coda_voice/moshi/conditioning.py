"""Telling a running Moshi what it should know: one interface, three channels.

Which of them a checkpoint takes, its capability record says (design.md §3, "Text conditioning"):

- *frame sum*: a message, one token a frame, added to the model's input while the user still
  speaks (the manner of MoshiRAG and KAME). At once, and gone with the context.
- *prompt*: the slot is rebuilt beside the running one with another prompt and swapped between
  two frames (``Slot.prime``). Takes some frames, and lasts.
- *speaking*: a checkpoint that takes neither can only be made to say something aloud.

What could not be told is reported with its reason, never dropped in silence. Counts of time
are frames on the conversation's own clock, so that files and live audio behave alike.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Literal

import torch

from coda_voice.errors import ConfigurationError, ConversationError
from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm, Renewal
from coda_voice.moshi.prompt import Prompt, wrap_in_system_tags
from coda_voice.moshi.sentences import Rendered, sentences_for
from coda_voice.moshi.slot import Slot

Channel = Literal["frame_sum", "prompt", "speaking", "none"]
Say = Callable[[str, int], object]
"""Says a text aloud for a generation (``Speaker.say``, bound)."""
_REMEMBERED = 256
"""Facts whose last telling is remembered."""
_IN_PROMPT = "the prompt says so already"
_GAP = 2
"""Frames without a token between two messages by frame sum."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is told, and how often; frames of 80 ms."""

    words: int = 50
    """Of one injection."""
    prompt_tokens: int = 200
    repeat_after: int = 750
    """No fact is told twice within a minute."""
    cooldown: int = 50
    """Between two exchanges of the prompt: four seconds."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A fact that was not told, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Injection:
    """What came of telling: which facts, by which channel, from which frame on.

    ``rendered`` is what the model read; ``frame`` is None where nothing was told.
    """

    channel: Channel
    frame: int | None
    generation: int
    told: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    rendered: str = ""


@dataclass(frozen=True, slots=True)
class _Sum:
    """A fact on its way by frame sum: of which turn it is, and the frame after its last token."""

    fact: str
    generation: int
    end: int


class Conditioner:
    """What one conversation's model is told beside the audio. Any thread but the engine's.

    ``persona`` is the character's own prompt, ``voice`` its voice sample (left out where the
    checkpoint takes none). Futures resolve when the model has it: by frame sum at once, by
    prompt in the moment of the swap.
    """

    def __init__(
        self,
        slot: Slot,
        models: SpeechModels,
        *,
        persona: str = "",
        voice: Pcm | None = None,
        say: Say | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._slot = slot
        self._models = models
        self._known = models.capabilities
        self._sentences = sentences_for(models.encode_text, models.tokenizer.unk_id())
        self._persona = persona
        self._voice = voice if self._known.voice_prompt else None
        self._say = say
        self._lock = threading.Lock()
        self._facts: tuple[str, ...] = ()
        self._told: OrderedDict[str, int] = OrderedDict()
        self._sums: list[_Sum] = []
        self._in_prompt: frozenset[str] = frozenset()
        self._refused_persona = ""
        """The persona of which was reported what the prompt leaves out."""
        self._primed: int | None = None
        self._waiting = False

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What this checkpoint takes, what works soonest first."""
        found: list[Channel] = []
        if self._models.reference_embedding is not None:
            found.append("frame_sum")
        if self._known.prompt != "none":
            found.append("prompt")
        if self._known.speaking and self._say is not None:
            found.append("speaking")
        return tuple(found)

    @property
    def waiting(self) -> bool:
        """Whether something lasting waits for the cooldown to be over (``catch_up``)."""
        return self._waiting

    # ---- what lasts ------------------------------------------------------------------------

    def begin(self, facts: Sequence[str] = ()) -> Future[Injection]:
        """Begin with persona and facts as the prompt; no cooldown applies."""
        with self._lock:
            self._facts = tuple(facts)
        return self._prime(self._facts, ())

    def know(self, facts: Sequence[str]) -> Future[Injection]:
        """Have the prompt say these ``facts``, the most important first, instead of earlier ones.

        Exchanges the prompt if that changes it. During the cooldown it waits: ``catch_up``,
        called now and then, does it afterwards.
        """
        with self._lock:
            self._facts = tuple(facts)
        if "prompt" not in self.channels:
            return _settled(self._nothing(facts, self._cannot()))
        if self._cooling():
            self._waiting = True
            return _settled(self._nothing(facts, self._cooldown_reason()))
        return self._prime(self._facts, ())

    def describe(self, persona: str) -> None:
        """Have another persona from the next exchange of the prompt on (``refresh``)."""
        with self._lock:
            self._persona = persona

    def refresh(self) -> Future[Injection]:
        """Exchange the prompt for what persona and facts are by now, as ``know``."""
        return self.know(self._facts)

    def catch_up(self) -> Future[Injection] | None:
        """Do what waited for the cooldown, if that is over; None if there is nothing to do."""
        if not self._waiting or self._cooling():
            return None
        return self._prime(self._facts, ())

    # ---- what matters now --------------------------------------------------------------------

    def tell(
        self, facts: Sequence[str], generation: int | None = None, aloud: str = ""
    ) -> Future[Injection]:
        """Tell ``facts`` for what is being said now, by the soonest channel there is.

        ``generation``: the user turn they belong to; for an older one nothing is told.
        ``aloud``: what may be said where the checkpoint takes nothing but speaking.
        """
        given = self._slot.generation if generation is None else generation
        if given != self._slot.generation:
            return _settled(self._nothing(facts, "stale: the user has begun another turn", given))
        fresh, refused = self._choose(facts)
        channels = self.channels
        if not fresh and not aloud:
            return _settled(Injection("none", None, given, refused=tuple(refused)))
        if "frame_sum" in channels:
            return _settled(self._sum(fresh, refused, given))
        if "prompt" in channels:
            if self._cooling():
                refused += [Refusal(fact, self._cooldown_reason()) for fact in fresh]
                return _settled(Injection("none", None, given, refused=tuple(refused)))
            return self._prime(self._facts, tuple(fresh), refused, given)
        if "speaking" in channels and aloud and self._say is not None:
            frame = self._frame
            self._say(aloud, given)
            return _settled(
                Injection("speaking", frame, given, (aloud,), tuple(refused), rendered=aloud)
            )
        refused += [Refusal(fact, self._cannot()) for fact in fresh]
        return _settled(Injection("none", None, given, refused=tuple(refused)))

    # ---- inside ----------------------------------------------------------------------------------

    @property
    def _frame(self) -> int:
        """The frame that comes out next."""
        return self._slot.counters.frames_out

    def _choose(self, facts: Sequence[str]) -> tuple[list[str], list[Refusal]]:
        """Keep what is new and within the budget, in the order given."""
        fresh: list[str] = []
        refused: list[Refusal] = []
        room, now = self.limits.words, self._frame
        with self._lock:
            self._forget_cut_off()
            for fact in dict.fromkeys(facts):
                last = self._told.get(_key(fact))
                words = len(fact.split())
                if _key(fact) in self._in_prompt:
                    refused.append(Refusal(fact, _IN_PROMPT))
                elif last is not None and now - last < self.limits.repeat_after:
                    ago = (now - last) * FRAME_SECONDS
                    refused.append(Refusal(fact, f"told {ago:.1f} s ago"))
                elif words > room:
                    refused.append(
                        Refusal(fact, f"over the budget of {self.limits.words} words at once")
                    )
                else:
                    room -= words
                    fresh.append(fact)
        return fresh, refused

    def _sum(self, facts: Sequence[str], refused: list[Refusal], generation: int) -> Injection:
        told: list[str] = []
        messages: list[str] = []
        vectors: list[torch.Tensor] = []
        sums: list[_Sum] = []
        frame = self._frame
        end = max([frame, *(one.end for one in self._sums if one.generation == generation)])
        for fact in facts:
            message = self._sentences.message(fact)
            if message is None:
                refused.append(Refusal(fact, "this checkpoint learnt no such sentence"))
                continue
            tokens = self._models.reference_vectors(self._models.encode_text(message))
            if vectors:
                vectors.append(tokens.new_zeros(_GAP, tokens.shape[1]))
                end += _GAP
            vectors.append(tokens)
            end += len(tokens)
            sums.append(_Sum(_key(fact), generation, end))
            messages.append(message)
            told.append(fact)
        if not told:
            return Injection("none", None, generation, refused=tuple(refused))
        self._slot.reference(torch.cat(vectors), generation)
        self._note(told, frame)
        with self._lock:
            self._sums += sums
        return Injection(
            "frame_sum", frame, generation, tuple(told), tuple(refused), "; ".join(messages)
        )

    def _forget_cut_off(self) -> None:
        """Count as not told what a new turn cut off on its way. With the lock held."""
        now = self._slot.generation
        for one in self._sums:
            if one.generation != now and one.end > self._slot.began_at(one.generation + 1):
                self._told.pop(one.fact, None)
        self._sums = [one for one in self._sums if one.generation == now]

    def _prime(
        self,
        facts: tuple[str, ...],
        moment: tuple[str, ...],
        refused: Sequence[Refusal] = (),
        generation: int | None = None,
    ) -> Future[Injection]:
        """Exchange the prompt; ``moment`` goes before the lasting facts."""
        given = self._slot.generation if generation is None else generation
        self._waiting = False
        if "prompt" not in self.channels:
            unsaid = [(self._persona, self._cannot())] if self._persona else []
            nothing = self._nothing(facts, self._cannot(), given)
            left_out = self._persona_left_out(Rendered(persona_refused=unsaid))
            return _settled(replace(nothing, refused=(*nothing.refused, *left_out)))
        wanted = tuple(dict.fromkeys((*moment, *facts)))
        made = self._fitting(wanted)
        left_out = (
            *refused,
            *(Refusal(text, reason) for text, reason in made.refused),
            *self._persona_left_out(made),
        )
        prompt = Prompt(text=made.text, voice=self._voice)
        if prompt.key == self._slot.prompt.key:
            said = tuple(Refusal(fact, _IN_PROMPT) for fact in made.told)
            return _settled(Injection("none", None, given, (), (*said, *left_out)))
        done: Future[Injection] = Future()
        with self._lock:
            self._primed = self._frame

        def not_told(reason: str) -> Injection:
            missed = tuple(Refusal(fact, reason) for fact in made.told)
            return Injection("none", None, given, (), (*left_out, *missed))

        def swapped(rebuilt: Future[Renewal]) -> None:
            # In the engine's thread, between two frames: the next one comes from the new state.
            error, outcome = rebuilt.exception(), None
            if error is None:
                self._now_in_prompt(made.told, frame := self._frame)
                outcome = Injection("prompt", frame, given, tuple(made.told), left_out, made.text)
            elif isinstance(error, ConversationError):
                outcome = not_told(str(error))
            if not done.set_running_or_notify_cancel():
                return  # who waited for it has left
            if outcome is not None:
                done.set_result(outcome)
            else:
                done.set_exception(error)

        try:
            self._slot.prime(prompt).add_done_callback(swapped)
        except (ConfigurationError, ConversationError) as error:
            return _settled(not_told(error.message))
        return done

    def _fitting(self, facts: Sequence[str]) -> Rendered:
        """Persona and facts within the token limit of a prompt, tags included."""
        tags = len(self._models.encode_text(wrap_in_system_tags("")))
        return self._sentences.prompt(self._persona, facts, self.limits.prompt_tokens - tags)

    def _persona_left_out(self, made: Rendered) -> tuple[Refusal, ...]:
        """What the prompt cannot say of the persona; once for each persona, not at every fact."""
        with self._lock:
            if self._persona == self._refused_persona:
                return ()
            self._refused_persona = self._persona
        return tuple(Refusal(text, reason) for text, reason in made.persona_refused)

    def _now_in_prompt(self, told: Sequence[str], frame: int) -> None:
        """The prompt says these facts; those it said before and no more may be told again."""
        keys = frozenset(map(_key, told))
        with self._lock:
            for gone in self._in_prompt - keys:
                self._told.pop(gone, None)
            self._in_prompt = keys
        self._note(told, frame)

    def _note(self, told: Sequence[str], frame: int) -> None:
        with self._lock:
            for fact in told:
                self._told[_key(fact)] = frame
                self._told.move_to_end(_key(fact))
            while len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)

    def _cooling(self) -> bool:
        return self._primed is not None and self._frame - self._primed < self.limits.cooldown

    def _cooldown_reason(self) -> str:
        return (
            "the prompt was exchanged a moment ago; at most once every "
            f"{self.limits.cooldown * FRAME_SECONDS:g} s"
        )

    def _cannot(self) -> str:
        name = self._known.name or "this checkpoint"
        if "frame_sum" in self.channels:
            return f"{name} takes no prompt, so nothing lasting can be told"
        if self._known.frame_sum == "streaming_sum":
            return f"{name} takes references only from its own encoder, which is not here"
        return f"{name} takes neither a prompt nor references; only what is said aloud reaches it"

    def _nothing(
        self, facts: Sequence[str], reason: str, generation: int | None = None
    ) -> Injection:
        given = self._slot.generation if generation is None else generation
        return Injection("none", None, given, refused=tuple(Refusal(f, reason) for f in facts))


def _key(fact: str) -> str:
    return " ".join(fact.casefold().split()).rstrip(".!")


def _settled(injection: Injection) -> Future[Injection]:
    done: Future[Injection] = Future()
    done.set_result(injection)
    return done
