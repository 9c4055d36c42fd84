"""Spell what is reached by its signs: phone numbers in groups, e-mail and web addresses."""

from __future__ import annotations

import re

from num2words import num2words  # type: ignore[import-untyped]

_DOMAIN = (
    r"(?:[a-zA-Z0-9-]+\.)+(?:com|org|net|edu|gov|info|io|ai|dev|app|eu|uk|de|fr|es|it|nl|ch|at|us|"
    r"ca|au|jp)"
)
_CALLING = r"\b(?:[Cc]all|[Dd]ial|[Rr]ing|[Pp]hone|[Tt]ext|[Nn]umber|[Tt]el\.?|[Ff]ax)\b"


def _groups(match: re.Match[str]) -> str:
    """Digit by digit, with a comma where the number has a gap."""
    groups = re.findall(r"\d+", match["number"])
    plus = "plus " if match["number"].startswith("+") else ""
    said = [" ".join(str(num2words(int(digit))) for digit in group) for group in groups]
    return f"{match['before'] or ''}{plus}{', '.join(said)}"


def _address(match: re.Match[str]) -> str:
    address = match[0].removeprefix("www.")
    for sign, word in (
        ("@", " at "),
        (".", " dot "),
        ("_", " underscore "),
        ("-", " dash "),
        ("+", " plus "),
    ):
        address = address.replace(sign, word)
    return address


_CODE = r"(?:[Zz][Ii][Pp](?: code)?|[Pp]ostal code|[Pp]ostcode|PIN|[Pp]asscode|[Cc]ode)"

_RULES = (
    (re.compile(rf"(?<![\w@])[\w.+-]+@{_DOMAIN}\b"), _address),
    (
        re.compile(rf"(?<![\w@.-])(?:www\.)?({_DOMAIN})\b(/(?!\d)[\w/-]*)?"),
        lambda m: (m[1] + (m[2] or "").rstrip("/")).replace(".", " dot ").replace("/", " slash "),
    ),
    *(
        (re.compile(rf"(?<![\w.,-])(?<!\d )(?P<before>){number}(?![\w-]|[.,]\d)"), _groups)
        for number in (
            r"(?P<number>\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,5})",
            r"(?P<number>(?:1[ .-])?\(?[2-9]\d{2}\)?[ .-]\d{3}[.-]\d{4})",
            r"(?P<number>0\d{1,4}[ /-]\d{3,8}(?: \d{2,6})*)",
            r"(?P<number>(?!\d{4}-\d\d-\d\d\b)\d+(?:-\d+){3,})",
        )
    ),
    (
        re.compile(
            rf"(?P<before>{_CALLING}[^.\d\n]{{0,20}})(?P<number>\d{{3}}[ -]\d{{4}})(?![\w-])"
        ),
        _groups,
    ),
    (
        re.compile(
            r"(?P<before>\b(?:[Cc]all|[Dd]ial|[Rr]ing|[Pp]hone) )(?P<number>\d{3})"
            r"(?![\w-]| (?:\w+s|people)\b|[.,]\d)"  # not "call 112 people"
        ),
        _groups,
    ),
    (
        re.compile(rf"(?P<before>\b{_CODE}(?: is)?:? )(?P<number>\d{{4,8}})(?![\w-]|[.,]\d)"),
        _groups,
    ),
)


def spelled_addresses(text: str) -> str:
    """Give ``text`` with every such number and address spelled."""
    for pattern, spell in _RULES:
        text = pattern.sub(spell, text)
    return text
