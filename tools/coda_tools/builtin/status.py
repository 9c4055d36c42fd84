"""Say how the machine is doing: processor, memory, battery."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psutil

from coda_tools.function_tool import tool
from coda_tools.registry import Tool

Facts = Callable[[], Mapping[str, str]]
"""Gives further facts by name, for example how many conversations are running."""


def status_tools(more: Facts | None = None) -> list[Tool]:
    """Make the tool ``get_system_status``; ``more`` adds what the program knows of itself."""

    @tool(timeout=5)
    def get_system_status() -> str:
        """Tell how busy this machine is: processor, memory, battery."""
        memory = psutil.virtual_memory()
        facts = {
            "processor": f"{psutil.cpu_percent(interval=0.1):.0f} percent busy",
            "memory": f"{(memory.total - memory.available) / 2**30:.1f} of "
            f"{memory.total / 2**30:.1f} gigabytes used",
        }
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        if battery is not None:
            state = "charging" if battery.power_plugged else "on battery"
            facts["battery"] = f"{battery.percent:.0f} percent, {state}"
        facts.update(more() if more else {})
        return "; ".join(f"{name}: {fact}" for name, fact in facts.items()) + "."

    return [get_system_status]
