"""A full-duplex voice: Kyutai Moshi speaks and listens, an LLM thinks."""
