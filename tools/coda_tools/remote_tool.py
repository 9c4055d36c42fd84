"""A tool that runs elsewhere and is known by its JSON schema: of an MCP server, of Coda."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import jsonschema  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

from coda_voice.errors import ValidationError
from coda_voice.protocols import ToolSpec


class RemoteTool:
    """Checks arguments against the schema here, so that a wrong call never travels.

    Raises ValidationError where it is made if the schema itself is none.
    """

    def __init__(
        self, spec: ToolSpec, send: Callable[[Mapping[str, object]], Awaitable[object]]
    ) -> None:
        self.spec = spec
        self._send = send
        kind = jsonschema.validators.validator_for(
            spec.parameters, default=jsonschema.Draft202012Validator
        )
        try:
            kind.check_schema(spec.parameters)
        except jsonschema.SchemaError as error:
            raise ValidationError(
                f"The tool {spec.name!r} has a schema that is none: {error.message}"
            ) from error
        self._validator = kind(spec.parameters)

    def validate(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Give the arguments unchanged if they fit."""
        given = dict(arguments)
        fault = best_match(self._validator.iter_errors(given))
        if fault is not None:
            where = ".".join(str(part) for part in fault.absolute_path)
            raise ValidationError(
                f"{self.spec.name}: {where + ': ' if where else ''}{fault.message:.300}",
                tool=self.spec.name,
            )
        return given

    async def invoke(self, arguments: Mapping[str, object]) -> object:
        """Send the call and give what comes back."""
        return await self._send(arguments)
