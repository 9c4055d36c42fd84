"""Tools the language model may call; empty until its issue is done."""
