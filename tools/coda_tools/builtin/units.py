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
    "kilo": "kilogram",
    "kilos": "kilogram",  # pint takes it for kiloseconds
    "grammes": "gram",
}
"""Names people say, where pint has another or none."""
_IRREGULAR = {"foot": "feet", "inch": "inches"}
_PLURAL = {
    *("meter", "metre", "kilometer", "kilometre", "centimeter", "centimetre", "millimeter"),
    *("millimetre", "mile", "yard", "gram", "kilogram", "kilo", "milligram", "pound", "ounce"),
    *("ton", "tonne", "liter", "litre", "milliliter", "millilitre", "gallon", "pint", "quart"),
    *("cup", "tablespoon", "teaspoon", "second", "minute", "hour", "day", "week", "month", "year"),
    *("byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "acre", "hectare", "knot"),
}
"""Units that take an s."""


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
    # "Ounces in a cup" are those of a volume, though nobody says so.
    fluid = _registry().Unit("fluid_ounce")
    if source == _registry().Unit("ounce") and target.is_compatible_with(fluid):
        source = fluid
    if target == _registry().Unit("ounce") and source.is_compatible_with(fluid):
        target = fluid
    try:
        return float(_registry().Quantity(value, source).to(target).magnitude)
    except pint.DimensionalityError as error:
        raise ValidationError(f"{from_unit} cannot be converted to {to_unit}: {error}.") from error


@tool
def convert_units(value: float, from_unit: str, to_unit: str) -> str:
    """Convert a quantity from one unit to another.

    value: how much
    from_unit: for example miles, pounds, celsius, cups, mph
    to_unit: for example kilometers, kilograms, fahrenheit, liters, km/h
    """
    result = convert(value, from_unit, to_unit)
    return f"{_counted(value, from_unit)} is {_counted(_rounded(result), to_unit)}."


def _rounded(value: float) -> float:
    """Keep two decimals; of less than a tenth more digits: an inch is not 0.03 meters."""
    size = abs(value)
    return round(value, 2) if size >= 0.1 else round(value, 4) if size >= 0.01 else value


def _counted(value: float, unit: str) -> str:
    """Say how many: one mile, 1.5 miles; units without a plural stay as they are."""
    count = number_text(value)
    head, per, rest = unit.strip().partition(" per ")
    name = head.lower()
    if count in ("1", "-1"):
        if name in _IRREGULAR.values():
            head = next(one for one, many in _IRREGULAR.items() if many == name)
        elif name.endswith("s") and name[:-1] in _PLURAL:
            head = head[:-1]
    elif name in _IRREGULAR:
        head = _IRREGULAR[name]
    elif name in _PLURAL:
        head = f"{head}s"
    return f"{count} {head}{per}{rest}"
