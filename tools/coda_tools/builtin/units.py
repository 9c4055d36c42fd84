"""Convert between units of length, mass, temperature, volume, speed, time and data."""

from __future__ import annotations

import re
from functools import lru_cache

import pint

from coda_tools.builtin.arithmetic import number_text
from coda_tools.function_tool import tool
from coda_voice.errors import ValidationError

SPOKEN_NAMES = {
    "celsius": "degree_Celsius",
    "degrees celsius": "degree_Celsius",
    "centigrade": "degree_Celsius",
    "fahrenheit": "degree_Fahrenheit",
    "degrees fahrenheit": "degree_Fahrenheit",
    "c": "degree_Celsius",
    "f": "degree_Fahrenheit",
    "feet": "foot",
    "inches": "inch",
    "metres": "meter",
    "kilometres": "kilometer",
    "km/h": "kilometer/hour",
    "kph": "kilometer/hour",
    "mph": "mile/hour",
    "stones": "stone",
    "tablespoons": "tablespoon",
    "gallons": "gallon",
}
"""Names people say, where pint has another or none."""


@lru_cache(maxsize=1)
def _registry() -> pint.UnitRegistry[float]:
    """Read the unit definitions once, when first needed: it takes a tenth of a second."""
    return pint.UnitRegistry(cache_folder=None, autoconvert_offset_to_baseunit=True)


def _unit(name: str) -> pint.Unit:
    text = " ".join(name.strip().split())
    text = SPOKEN_NAMES.get(text.lower(), text)
    if len(text) > 60 or not re.fullmatch(r"[\w\s/*^.°µ-]+", text):
        raise ValidationError(f"{name!r:.80} is no unit.")
    for spelling in (text, text.lower(), text.replace(" ", "_").lower()):
        try:
            return _registry().Unit(re.sub(r"\s+per\s+", "/", spelling))
        except (pint.PintError, ValueError, TypeError, AttributeError, SyntaxError):
            continue
    raise ValidationError(f"{name!r} is no unit that is known; try its full English name.")


def convert(value: float, from_unit: str, to_unit: str) -> float:
    """Give ``value`` in ``to_unit``. Raises ValidationError for units that do not fit."""
    source, target = _unit(from_unit), _unit(to_unit)
    try:
        return float(_registry().Quantity(value, source).to(target).magnitude)
    except pint.DimensionalityError as error:
        raise ValidationError(f"{from_unit} cannot be converted to {to_unit}: {error}.") from error


@tool(timeout=5)
def convert_units(value: float, from_unit: str, to_unit: str) -> str:
    """Convert a quantity from one unit to another.

    value: how much
    from_unit: for example miles, pounds, celsius, cups, mph
    to_unit: for example kilometers, kilograms, fahrenheit, liters, km/h
    """
    result = convert(value, from_unit, to_unit)
    rounded = round(result, 2) if abs(result) >= 0.01 else result
    return f"{number_text(value)} {from_unit} is {number_text(rounded)} {to_unit}."
