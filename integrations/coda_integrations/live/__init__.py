"""OpenAI's Live protocol: a full-duplex voice that delegates what needs thought."""
