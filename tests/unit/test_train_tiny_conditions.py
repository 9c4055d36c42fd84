"""Recording conditions of the recipe: every voice is heard at every level."""

import numpy as np
import pytest

from coda_voice.moshi.capabilities import TINY_FOLDER
from scripts.train_tiny.clips import Clip, ClipStore, write_clips
from scripts.train_tiny.codec import load_mimi
from scripts.train_tiny.conditions import LOUDNESS_DB, levelled, loudness, tilted
from scripts.train_tiny.encode import SPEEDS, encode_user

RATE = 24_000


def voice(level_db: float, pause: float = 0.4) -> np.ndarray:
    """A second of something like a voice, with a pause in it."""
    rng = np.random.default_rng(1)
    sound = rng.standard_normal(RATE).astype(np.float32)
    sound[: int(pause * RATE)] = 0
    return sound * 10 ** (level_db / 20)


@pytest.mark.parametrize("level", [-45.0, -30.0, -8.0])
def test_voices_of_any_level_come_out_equally_loud(level):
    assert loudness(levelled(voice(level))) == pytest.approx(LOUDNESS_DB, abs=0.1)


def test_pauses_do_not_make_a_voice_louder():
    assert loudness(voice(-20, pause=0.6)) == pytest.approx(loudness(voice(-20, pause=0.1)), abs=1)


@pytest.mark.parametrize("clip", [np.zeros(RATE, np.float32), np.zeros(10, np.float32)])
def test_silence_stays_silence(clip):
    assert not levelled(clip).any()


def test_a_tilted_voice_is_as_loud_and_brighter():
    before, after = voice(-20), tilted(voice(-20), 3.0)
    assert after.std() == pytest.approx(before.std(), rel=1e-4)
    hz = np.fft.rfftfreq(len(before), 1 / RATE)
    power = [np.abs(np.fft.rfft(pcm)) ** 2 for pcm in (before, after)]
    rise = [p[(hz > 4_000) & (hz < 5_000)].mean() / p[(hz > 500) & (hz < 625)].mean()
            for p in power]  # fmt: skip
    assert 10 * np.log10(rise[1] / rise[0]) == pytest.approx(3 * 3.0, abs=0.2)


def test_words_of_a_varied_copy_are_where_its_speed_puts_them(tmp_path):
    said = [("one", 0.0, 0.4), ("two", 0.5, 1.0)]
    sound = (voice(-20) * 32767).astype(np.int16)
    write_clips(tmp_path, "user", ((Clip("one two", "v", said), sound) for _ in range(6)))
    mimi = load_mimi(TINY_FOLDER).eval()
    store = ClipStore(tmp_path, "user")
    plain, varied = (encode_user(mimi, store, 1, varied=varied) for varied in (False, True))
    both = plain.and_then(varied)
    assert len(both) == 12 and both.texts[7] == "one two"
    assert (both.clip(9) == varied.clip(3)).all() and both.words[9] == varied.words[3]
    for words in plain.words:
        assert words[1][2] - words[0][1] == pytest.approx(12.5)
    longer = {round((words[1][2] - words[0][1]) / 12.5, 2) for words in varied.words}
    assert len(longer) > 1 and all(1 / SPEEDS[1] <= each <= 1 / SPEEDS[0] for each in longer)
