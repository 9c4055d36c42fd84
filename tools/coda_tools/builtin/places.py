"""Which time zone a place is in: cities and countries from the time zone database, and what
people say that it does not list: parts of countries, other spellings, large cities.

Where a place has several zones, it is said so, or which of them is meant.
"""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from coda_voice.errors import ValidationError

_EASTERN, _CENTRAL = "America/New_York", "America/Chicago"
_MOUNTAIN, _PACIFIC = "America/Denver", "America/Los_Angeles"
ZONE_NAMES = {
    _EASTERN: "Eastern Time",
    _CENTRAL: "Central Time",
    _MOUNTAIN: "Mountain Time",
    "America/Phoenix": "Mountain Standard Time",
    _PACIFIC: "Pacific Time",
    "America/Anchorage": "Alaska Time",
    "Pacific/Honolulu": "Hawaii Time",
}
"""What those who live in one of the states call its time."""
_STATES = {
    _EASTERN: "connecticut delaware florida+ indiana+ kentucky+ maine maryland massachusetts "
    "michigan+ new_hampshire new_jersey new_york_state north_carolina ohio pennsylvania "
    "rhode_island south_carolina vermont virginia west_virginia",
    _CENTRAL: "alabama arkansas illinois iowa kansas+ louisiana minnesota mississippi missouri "
    "nebraska+ north_dakota+ oklahoma south_dakota+ tennessee+ texas+ wisconsin",
    _MOUNTAIN: "colorado idaho+ montana new_mexico utah wyoming",
    "America/Phoenix": "arizona+",
    _PACIFIC: "california nevada+ oregon+ washington_state",
    "America/Anchorage": "alaska+",
    "Pacific/Honolulu": "hawaii",
}
"""The states of the USA; those with a plus have another time in a smaller part."""
_MORE = {
    _EASTERN: "washington washington_dc washington_d_c boston miami atlanta philadelphia "
    "orlando new_york_city",
    _CENTRAL: "dallas houston austin san_antonio new_orleans nashville memphis",
    _MOUNTAIN: "salt_lake_city albuquerque el_paso",
    _PACIFIC: "san_francisco seattle san_diego las_vegas silicon_valley hollywood",
    "America/Port_of_Spain": "trinidad tobago",
    "America/Toronto": "montreal ottawa ontario quebec",
    "America/Vancouver": "british_columbia",
    "America/Edmonton": "alberta calgary",
    "America/Winnipeg": "manitoba",
    "America/Regina": "saskatchewan",
    "America/Halifax": "nova_scotia",
    "America/St_Johns": "newfoundland",
    "America/Sao_Paulo": "rio_de_janeiro brasilia",
    "Australia/Sydney": "new_south_wales canberra",
    "Australia/Melbourne": "victoria",
    "Australia/Brisbane": "queensland",
    "Australia/Perth": "western_australia",
    "Australia/Adelaide": "south_australia",
    "Australia/Hobart": "tasmania",
    "Europe/London": "england scotland wales uk united_kingdom great_britain britain "
    "edinburgh glasgow cardiff manchester liverpool birmingham northern_ireland",
    "Europe/Berlin": "germany munich hamburg cologne frankfurt",
    "Europe/Madrid": "spain barcelona seville",
    "Europe/Rome": "milan florence naples venice sicily",
    "Europe/Zurich": "geneva basel bern",
    "Europe/Paris": "lyon marseille",
    "Europe/Amsterdam": "holland the_hague rotterdam",
    "Europe/Prague": "czechia",
    "Europe/Kyiv": "ukraine kiev",
    "Europe/Lisbon": "portugal",
    "Europe/Moscow": "saint_petersburg",
    "Asia/Kolkata": "new_delhi delhi mumbai bangalore chennai",
    "Asia/Shanghai": "china beijing shenzhen",
    "Asia/Tokyo": "osaka kyoto",
    "Asia/Seoul": "korea south_korea",
    "Asia/Pyongyang": "north_korea",
    "Asia/Makassar": "bali",
    "Asia/Dubai": "united_arab_emirates emirates abu_dhabi",
    "Asia/Nicosia": "cyprus",
    "Asia/Yangon": "burma",
    "Asia/Kuala_Lumpur": "malaysia",
    "Pacific/Auckland": "new_zealand wellington",
    "America/Santiago": "chile",
    "America/Guayaquil": "ecuador",
}
"""Places people name that the time zone database does not, or not alone."""
_SEVERAL = {
    "america": "US",
    "usa": "US",
    "us": "US",
    "united states of america": "US",
}
_AMBIGUOUS = {"georgia": ("Tbilisi or Atlanta", ("Asia/Tbilisi", _EASTERN))}
"""What is a country and a state: cities to say instead, and zones of those."""
_CONTINENTS = r"(?:Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific)/"
_NO_CITIES = {"north", "south", "west", "act", "nsw", "lhi", "yancowinna", "general"}
"""Last parts of zone names that are no city."""
_ALIKE = 0.75
"""Of the letters, so that "Tokio" is near Tokyo and "Mars" is not near Paris."""


@dataclass(frozen=True)
class Place:
    """Where a clock hangs: ``name`` as one says it, and ``called`` if its time has a name."""

    name: str
    zone: zoneinfo.ZoneInfo
    called: str = ""


@lru_cache(maxsize=1)
def _states() -> Mapping[str, tuple[str, bool]]:
    """Zone of each state, and whether all of it is in that zone."""
    return {
        state.rstrip("+").replace("_", " "): (zone, not state.endswith("+"))
        for zone, states in _STATES.items()
        for state in states.split()
    }


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, tuple[str, ...]]:
    """The zones of each country, by its name in lower case."""
    zones: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for table, into in (("zone.tab", zones), ("iso3166.tab", names)):
        lines = files("tzdata.zoneinfo").joinpath(table).read_text("utf-8").splitlines()
        for row in (line.split("\t") for line in lines if not line.startswith("#")):
            if into is zones:
                zones.setdefault(row[0], []).append(row[2])
            else:
                names[row[1].partition(" (")[0].replace("&", "and").lower()] = row[0]
    return {name: tuple(zones.get(code, ())) for name, code in (names | _SEVERAL).items()}


@lru_cache(maxsize=1)
def _cities() -> Mapping[str, str]:
    named = {
        zone.rpartition("/")[2].replace("_", " ").lower(): zone
        for zone in sorted(zoneinfo.available_timezones(), key=lambda zone: -zone.count("/"))
        if re.match(_CONTINENTS, zone)
    }
    more = {
        place.replace("_", " "): zone for zone, places in _MORE.items() for place in places.split()
    }
    kept = {name: zone for name, zone in named.items() if name not in _NO_CITIES}
    return {**kept, **more, "utc": "UTC", "gmt": "Etc/GMT", "greenwich": "Etc/GMT"}


def find_place(said: str) -> Place:
    """Find a city, a country, a part of one, or a zone name ("Europe/Rome").

    "Paris, Texas" is in Texas. Raises ValidationError, which names near ones, for a place that
    is not known, and for one with several times.
    """
    if re.match(_CONTINENTS, said) and said in zoneinfo.available_timezones():
        return Place(said.rpartition("/")[2].replace("_", " "), zoneinfo.ZoneInfo(said))
    words = _plain(said).split()
    shown = _title(said.strip())
    if found := _known(" ".join(words)):
        return found if found.name.startswith("most of") else replace(found, name=shown)
    if {"and", "or"} & set(words):  # London's time is not that of Paris
        raise ValidationError(f"I can tell the time of one place only, not of {shown}.")
    for at in range(len(words) - 1, 0, -1):
        city, around = " ".join(words[:at]), " ".join(words[at:])
        if (zones := _zones_of(around)) and city not in _AMBIGUOUS:
            inner = _known(city)
            if inner is not None and inner.zone.key in zones:
                return Place(shown, inner.zone)
            if outer := _known(around):  # a smaller city of that name, or one not known
                return Place(shown, outer.zone, outer.called)
    near = get_close_matches(" ".join(words), {**_cities(), **_countries(), **_states()}, 2, _ALIKE)
    hint = f"; did you mean {' or '.join(_title(name) for name in near)}?" if near else "."
    raise ValidationError(f"I do not know what time it is in {shown}{hint}")


def _plain(said: str) -> str:
    """Write "St. John's" or "The Netherlands" as the tables have it, without accents."""
    bare = unicodedata.normalize("NFKD", said.lower())
    bare = "".join(c for c in bare if not unicodedata.combining(c) and c not in "'’")
    bare = " ".join(re.sub(r"[,.]", " ", bare).split())
    return re.sub(r"^the (?!hague)", "", bare)


def _known(name: str) -> Place | None:
    """Find exactly this name."""
    if name in _AMBIGUOUS:
        raise ValidationError(
            f"{_title(name)} is more than one place; say {_AMBIGUOUS[name][0]}, for example."
        )
    if name in _states():
        key, whole = _states()[name]
        shown = _title(name) if whole else f"most of {_title(name)}"
        return Place(shown, zoneinfo.ZoneInfo(key), ZONE_NAMES[key])
    if name in _cities():
        return Place(_title(name), zoneinfo.ZoneInfo(_cities()[name]))
    zones = _countries().get(name, ())
    now = datetime.now(UTC)
    if len({zoneinfo.ZoneInfo(zone).utcoffset(now) for zone in zones}) > 1:
        the = "the " if name.startswith("u") else ""
        raise ValidationError(
            f"There is more than one time zone in {the}{_title(name)}; name a city or a state."
        )
    return Place(_title(name), zoneinfo.ZoneInfo(zones[0])) if zones else None


def _zones_of(name: str) -> tuple[str, ...]:
    if name in _AMBIGUOUS:
        return _AMBIGUOUS[name][1]
    if zones := _countries().get(name):
        return zones
    if state := _states().get(name):
        return (state[0],) if state[1] else _countries()["united states"]
    city = _cities().get(name)
    return (city,) if city else ()


_SMALL_WORDS = {"of", "the", "and", "de"}
_INITIALS = {"uk", "usa", "us", "utc", "gmt", "dc"}


def _title(name: str) -> str:
    """Give a name its capitals; one that has some keeps them."""
    if name != name.lower():
        return name
    words = [
        w if w in _SMALL_WORDS else w.upper() if w in _INITIALS else w[:1].upper() + w[1:]
        for w in name.split()
    ]
    return " ".join(words)
