"""The speech model: checkpoint, engine, slots, prefill, inner monologue."""

import os

# torch's OpenMP threads spin while they wait. With more threads than free cores that makes
# a small model ten times slower (measured: 2.0 s a step instead of 0.2 s on a busy machine),
# so they sleep, unless the environment says otherwise. It is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
