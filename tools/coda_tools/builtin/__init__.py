"""The tools every conversation has: time, arithmetic, units, timers, memory, status."""
