"""Write numbers, times, dates, money and units as words.

Moshi speaks what its text stream holds, and that knows words rather than digits.
"""

from __future__ import annotations

import re

from num2words import num2words  # type: ignore[import-untyped]

from coda_voice.calendar_names import MONTHS

UNITS = {
    "m²": "square meters",
    "km²": "square kilometers",
    "cm²": "square centimeters",
    "mm²": "square millimeters",
    "m³": "cubic meters",
    "km³": "cubic kilometers",
    "cm³": "cubic centimeters",
    "m/s²": "meters per second squared",
    "km/h": "kilometers per hour",
    "kmh": "kilometers per hour",
    "mi": "miles",
    "mph": "miles per hour",
    "mi/h": "miles per hour",
    "m/s": "meters per second",
    "km": "kilometers",
    "cm": "centimeters",
    "mm": "millimeters",
    "m": "meters",
    "kg": "kilograms",
    "mg": "milligrams",
    "g": "grams",
    "lbs": "pounds",
    "lb": "pounds",
    "oz": "ounces",
    "ft": "feet",
    "tsp": "teaspoons",
    "tbsp": "tablespoons",
    "l": "liters",
    "ml": "milliliters",
    "°C": "degrees Celsius",
    "°F": "degrees Fahrenheit",
    "°": "degrees",
    "ms": "milliseconds",
    "s": "seconds",
    "sec": "seconds",
    "min": "minutes",
    "mins": "minutes",
    "h": "hours",
    "hr": "hours",
    "hrs": "hours",
    "kWh": "kilowatt hours",
    "kW": "kilowatts",
    "W": "watts",
    "V": "volts",
    "GHz": "gigahertz",
    "MHz": "megahertz",
    "Hz": "hertz",
    "Mbps": "megabits per second",
    "Mbit/s": "megabits per second",
    "Gbit/s": "gigabits per second",
    "TB": "terabytes",
    "GB": "gigabytes",
    "MB": "megabytes",
    "KB": "kilobytes",
    "%": "percent",
}
SINGULAR = {"feet": "foot", "hertz": "hertz", "gigahertz": "gigahertz", "megahertz": "megahertz"}
CURRENCIES = {
    "$": ("dollar", "cent"),
    "€": ("euro", "cent"),
    "£": ("pound", "penny"),
    "¥": ("yen", "sen"),
    "₹": ("rupee", "paisa"),
    "₩": ("won", "jeon"),
    "₽": ("ruble", "kopek"),
}
UNCOUNTED = {"yen", "won", "sen", "jeon", "paisa"}
"""One yen, two yen."""
CURRENCY = f"[{''.join(CURRENCIES)}]"

UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
_LEFT = r"(?<![\w.,])"


def number_words(text: str) -> str:
    """Write ``"1,234.5"`` as ``one thousand two hundred and thirty-four point five``."""
    digits = text.replace(",", "")
    whole = digits.partition(".")[0]
    if len(whole) > 15 or (len(whole) > 1 and whole.startswith("0")):
        return " ".join("point" if d == "." else str(num2words(int(d))) for d in digits)
    value = float(digits) if "." in digits else int(digits)
    if isinstance(value, int):
        return str(num2words(value)).replace(",", "")
    fraction = digits.partition(".")[2]
    return f"{number_words(whole)} point {' '.join(num2words(int(d)) for d in fraction)}"


def year_words(year: int) -> str:
    """Write 1984 as ``nineteen eighty-four``."""
    return str(num2words(year, to="year")).replace(",", "")


def ordinal_words(number: int) -> str:
    """Write 23 as ``twenty-third``."""
    return str(num2words(number, to="ordinal")).replace(",", "")


def _time(match: re.Match[str]) -> str:
    hour, minute, half = int(match[1]), int(match[2]), (match[3] or "").replace(".", "").upper()
    if minute == 0:
        said = "" if half or hour > 12 else " o'clock"
        said = said or ("" if half else " hundred" if hour > 12 else "")
    else:
        said = (
            f" oh {number_words(str(minute))}" if minute < 10 else f" {number_words(str(minute))}"
        )
    return f"{number_words(str(hour))}{said}{' ' + ' '.join(half) if half else ''}"


def _iso_date(match: re.Match[str]) -> str:
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{MONTHS[month - 1]} {ordinal_words(day)}, {year_words(year)}"


def _date(match: re.Match[str]) -> str:
    """``21 November 2026`` and ``November 21, 2026``, the year being optional."""
    if match["month"]:
        month, day, year = match["month"], match["day"], match["year"]
    else:
        month, day, year = match["month2"], match["day2"], match["year2"]
    return f"{month} {ordinal_words(int(day))}{', ' + year_words(int(year)) if year else ''}"


def _money(match: re.Match[str]) -> str:
    name, part = CURRENCIES[match[1]]
    whole, _, cents = match[2].replace(",", "").partition(".")
    names = name if name in UNCOUNTED else f"{name}s"
    if match[3]:
        return f"{number_words(match[2])} {match[3]} {names}"
    if len(cents) > 2:  # a price of fuel, say
        return f"{number_words(match[2])} {names}"
    words = [f"{number_words(whole)} {name if whole == '1' else names}"] if int(whole) else []
    if cents and int(cents):
        count = int(cents.ljust(2, "0")[:2])
        many = "pence" if part == "penny" else part if part in UNCOUNTED else f"{part}s"
        words.append(f"{number_words(str(count))} {part if count == 1 else many}")
    return " and ".join(words) or f"zero {names}"


def _unit(match: re.Match[str]) -> str:
    name = UNITS[match["unit"]]
    number = match["number"]
    if number == "1" and name != "percent":
        # "square meters per second" has its plural before "per", "degrees Celsius" in front.
        head, per, rest = name.partition(" per ")
        words = head.split()
        at = 0 if words[0] == "degrees" else -1
        words[at] = SINGULAR.get(words[at], words[at].removesuffix("s"))
        name = f"{' '.join(words)}{per}{rest}"
    return f"{(match['minus'] and 'minus ') or ''}{number_words(number)} {name}"


def _signed(match: re.Match[str]) -> str:
    apart = " " if match[3] else ""  # "3D" is two words
    return f"{'minus ' if match[1] else ''}{number_words(match[2])}{apart}"


_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def _power(match: re.Match[str]) -> str:
    exponent = match[0].translate(_POWERS)
    named = {"2": " squared", "3": " cubed"}.get(exponent)
    return named or f" to the power of {exponent.replace('-', 'minus ')} "


_MONTH = "|".join(MONTHS)
_RULES = (
    (
        re.compile(rf"{_LEFT}(\d{{1,2}}):([0-5]\d)(?::\d\d)?(?:\s*([AaPp][Mm]\b|[AaPp]\.[Mm]\.))?"),
        _time,
    ),
    (re.compile(rf"{_LEFT}(\d{{4}})-(\d{{2}})-(\d{{2}})\b"), _iso_date),
    (
        re.compile(
            rf"\b(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})"
            rf"(?:,? (?P<year>\d{{4}}))?|(?P<month2>{_MONTH}) (?P<day2>\d{{1,2}})"
            rf"(?:st|nd|rd|th)?(?!\d)(?:,? (?P<year2>\d{{4}}))?)\b"
        ),
        _date,
    ),
    (
        re.compile(
            rf"({CURRENCY})\s?({NUMBER})(?:\s(thousand|million|billion|trillion|lakh|crore))?"
        ),
        _money,
    ),
    (
        re.compile(rf"(?<![\w.,])(?P<minus>[-−])?(?P<number>{NUMBER})\s?(?P<unit>{UNIT})(?![\w°])"),
        _unit,
    ),
    (re.compile(r"(?<=[\w)])⁻?[⁰¹²³⁴-⁹]+"), _power),
    (re.compile(rf"{_LEFT}(\d+)(?:st|nd|rd|th)\b"), lambda m: ordinal_words(int(m[1]))),
    (
        re.compile(
            r"\b([Ii]n|[Ss]ince|[Oo]f|[Ff]rom|[Uu]ntil|[Bb]y|[Yy]ear)\s(1[1-9]\d\d|20\d\d)\b"
        ),
        lambda m: f"{m[1]} {year_words(int(m[2]))}",
    ),
    (re.compile(rf"({NUMBER})(?:[–-]|\s–\s)({NUMBER})"), lambda m: f"{m[1]} to {m[2]}"),
    (re.compile(r"(?<=[\d)])\s+[-−]\s+(?=[\d(])"), lambda m: " minus "),
    (re.compile(r"(?<=\d)\s*[×x*]\s*(?=\d)"), lambda m: " times "),
    (re.compile(r"(?<=\d)\s*[÷/]\s*(?=\d)"), lambda m: " over "),
    (re.compile(r"(?<=[\d)])\s*\+\s*(?=[\d(])"), lambda m: " plus "),
    (re.compile(r"\s*=\s*(?=[-−]?\d)"), lambda m: " is "),
    (re.compile(rf"(?<![\w.])([-−])?({NUMBER})(?!\d)(?=([a-zA-Z]?))"), _signed),
)


def with_numbers_as_words(text: str) -> str:
    """Write every number in ``text`` as one says it."""
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    beside_letters = re.sub(NUMBER, lambda m: f" {number_words(m[0])} ", text)
    return re.sub(r"  +", " ", beside_letters).strip()
