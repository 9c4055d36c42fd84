"""Decide what needs thought, and think: router, reasoner, LLM clients, speakable text."""
