"""Harnesses of the binary codecs for a coverage-guided fuzzer; see ``scripts/fuzz_codecs.py``."""
