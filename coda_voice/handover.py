"""The memory, personality, tools and LLM that an embedding program hands to the manager.

Coda hands them over in two ways, by ``await set_…_manager(m)`` and by plain attributes;
both are here, and both check at once that the object can do what will be asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from coda_voice.event_bus import EventBus
from coda_voice.events import SettingWithoutEffect
from coda_voice.protocols import MemoryManager, PersonalityManager, ToolManager, require_methods

UNUSED = {
    "tool": "kept for the modes hybrid and adaptive: Moshi alone calls no tools",
    "llm": "kept, but never asked: external_llm says which LLM thinks",
}
"""What mode moshi_only has no use for, told in an event when it is handed over."""


class HandedOver:
    """The part of VoiceManager that takes other managers, and says what becomes of them.

    Each may be None to take it away again. Raises IntegrationError for an object that
    lacks the methods its kind needs.
    """

    def __init__(self, events: EventBus) -> None:
        self.events = events
        self._managers: dict[str, object] = {}

    def _take(self, kind: str, manager: object | None) -> None:
        if manager is None:
            self._managers.pop(kind, None)
            return
        require_methods(kind, manager)
        self._managers[kind] = manager
        reason = self._unused().get(kind)
        if reason is not None:
            self.events.publish(
                SettingWithoutEffect(conversation_id="", setting=f"{kind}_manager", reason=reason)
            )

    def _unused(self) -> Mapping[str, str]:
        """Give the kinds of managers that do nothing here, and why."""
        return UNUSED

    async def set_memory_manager(self, manager: MemoryManager | None) -> None:
        """Hand over the memory."""
        self._take("memory", manager)

    async def set_personality_manager(self, manager: PersonalityManager | None) -> None:
        """Hand over the personality."""
        self._take("personality", manager)

    async def set_tool_manager(self, manager: ToolManager | None) -> None:
        """Hand over the tools."""
        self._take("tool", manager)

    async def set_tools_manager(self, manager: ToolManager | None) -> None:
        """Hand over the tools, by the other name Coda has for it."""
        self._take("tool", manager)

    async def set_llm_manager(self, manager: object | None) -> None:
        """Hand over an LLM manager."""
        self._take("llm", manager)

    @property
    def memory_manager(self) -> object | None:
        """The memory handed over."""
        return self._managers.get("memory")

    @memory_manager.setter
    def memory_manager(self, manager: object | None) -> None:
        self._take("memory", manager)

    @property
    def personality_manager(self) -> object | None:
        """The personality handed over."""
        return self._managers.get("personality")

    @personality_manager.setter
    def personality_manager(self, manager: object | None) -> None:
        self._take("personality", manager)

    @property
    def tool_manager(self) -> object | None:
        """The tools handed over."""
        return self._managers.get("tool")

    @tool_manager.setter
    def tool_manager(self, manager: object | None) -> None:
        self._take("tool", manager)

    @property
    def llm_manager(self) -> object | None:
        """The LLM manager handed over."""
        return self._managers.get("llm")

    @llm_manager.setter
    def llm_manager(self, manager: object | None) -> None:
        self._take("llm", manager)
