"""Make the client of an LLM from its name: ``ollama/qwen3:8b``, ``openai/MODEL``, ``offline``."""

from __future__ import annotations

from coda_voice.errors import ConfigurationError
from coda_voice.hybrid.llm import LlmClient
from coda_voice.hybrid.offline_brain import OfflineBrain


def client_for(
    name: str,
    endpoint: str | None = None,
    *,
    context_window: int = 8_192,
    temperature: float = 0.7,
) -> LlmClient:
    """Make a client; nothing is connected before it is asked something.

    ``openai`` stands for any OpenAI-compatible server at ``endpoint``. Raises
    ConfigurationError for a provider that is unknown or a model that is missing. Each
    provider's package is imported only when it is chosen: openai takes a second to load.
    """
    provider, _, model = name.partition("/")
    if provider == "offline":
        return OfflineBrain()
    if provider not in ("ollama", "openai") or not model:
        raise ConfigurationError(
            f"{name!r} names no LLM. Write ollama/MODEL, openai/MODEL (any compatible server, "
            "with its endpoint) or offline."
        )
    if provider == "ollama":
        from coda_voice.hybrid.ollama_client import OllamaClient

        return OllamaClient(model, endpoint, context_window=context_window, temperature=temperature)
    from coda_voice.hybrid.openai_client import OpenAiClient

    return OpenAiClient(model, endpoint, context_window=context_window, temperature=temperature)
