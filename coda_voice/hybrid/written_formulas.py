r"""Write formulas, as LaTeX has them, with the signs that ``written_forms`` reads.

Small models write ``\( 3 \times 4 = 12 \)`` however often they are asked for words; aloud it
would be "times" without its backslash at best.
"""

from __future__ import annotations

import re

_SIGNS = {
    "times": "×", "cdot": "×", "div": "÷", "pm": "±", "approx": "≈", "le": "≤", "leq": "≤",
    "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "pi": "π", "infty": "∞", "to": "→",
    "rightarrow": "→", "ldots": "…", "dots": "…", "circ": "°", "degree": "°", "left": "",
    "right": "", "quad": " ",
}  # fmt: skip
_INNER = r"\{([^{}]{0,120})\}"
_BETWEEN_DOLLARS = (
    r"(?<![\w$\\])\$(?:(?=[^\s\d$])|(?=\d[^$\n]{0,200}?[\\^=+*_{}]))"
    r"([^$\n]{1,200}?)(?<=\S)\$(?![\w$])"
)
"""A formula, and not two prices."""


def _fraction(match: re.Match[str]) -> str:
    over, under = match[1].strip(), match[2].strip()
    return f"{over}/{under}" if over.isdigit() and under.isdigit() else f"{over} over {under}"


_RULES = (
    (re.compile(r"\\[()\[\]]|\$\$|\\[,;!]"), lambda m: " "),
    (re.compile(_BETWEEN_DOLLARS), lambda m: m[1]),
    (re.compile(rf"\\(?:text|mathrm|mathbf|boxed|operatorname)\s?{_INNER}"), lambda m: m[1]),
    (re.compile(rf"\\sqrt\s?{_INNER}"), lambda m: f"√{m[1]}"),
    (re.compile(rf"\\[dt]?frac\s?{_INNER}\s?{_INNER}"), _fraction),
    (re.compile(rf"\^{_INNER}"), lambda m: "°" if m[1].strip() == "\\circ" else f"^{m[1]}"),
    (re.compile(rf"(?<=\w)_{_INNER}"), lambda m: f" {m[1]}"),
    (re.compile(r"\^\s?\\circ\b"), lambda m: "°"),
    (
        re.compile(rf"\\({'|'.join(sorted(_SIGNS, key=len, reverse=True))})(?![a-zA-Z])"),
        lambda m: _SIGNS[m[1]],
    ),
    (re.compile(r"\\([%$&#_])"), lambda m: m[1]),
)


def plain_formulas(text: str) -> str:
    """Give ``text`` with its formulas in plain signs; what is no formula stays as it is."""
    if "\\" not in text and "$" not in text:
        return text
    for pattern, form in _RULES:
        text = pattern.sub(form, text)
    return text
