"""What the manager hands out, as a developer sees it in a shell."""

from __future__ import annotations

from coda_voice.models import VoiceResponse, VoiceStreamChunk


def test_what_is_printed_tells_the_words_and_not_every_sample():
    sound = bytes(48_000)
    response = VoiceResponse(
        conversation_id="c1", audio_data=sound, text_content="hello", duration_ms=1000.0,
        total_latency_ms=5.0,
    )  # fmt: skip
    chunk = VoiceStreamChunk(conversation_id="c1", chunk_index=0, audio_data=sound, text_delta="hi")
    for result, words in (response, "hello"), (chunk, "hi"):
        assert words in repr(result) and len(repr(result)) < 1_000
        assert result.model_dump()["audio_data"] == sound
