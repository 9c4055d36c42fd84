"""The names an embedding program imports, and what importing them costs."""

import subprocess
import sys

import pytest

import coda_voice

LOOKS = """
import sys, coda_voice
coda_voice.VoiceConfig(), coda_voice.ConversationError, coda_voice.VoiceResponse
assert "torch" not in sys.modules, "torch is imported"
assert "onnxruntime" not in sys.modules
assert callable(coda_voice.VoiceManager)
"""


def test_every_public_name_is_there():
    for name in coda_voice.__all__:
        assert getattr(coda_voice, name).__name__ == name
    assert dir(coda_voice) == sorted(coda_voice.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'VoiceManger'"):
        _ = coda_voice.VoiceManger


def test_importing_the_package_does_not_import_torch():
    subprocess.run([sys.executable, "-c", LOOKS], check=True, timeout=120)
