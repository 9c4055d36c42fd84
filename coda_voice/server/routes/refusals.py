"""What routes answer when they do not do it, for the OpenAPI document."""

from __future__ import annotations

from pydantic import BaseModel


class Problem(BaseModel):
    """What is wrong, and a code for programs."""

    code: str
    message: str


class Refusal(BaseModel):
    """The body of every answer that is a refusal."""

    error: Problem


Responses = dict[int | str, dict[str, object]]


def _refusal(description: str, *headers: str) -> dict[str, object]:
    told: dict[str, object] = {"model": Refusal, "description": description}
    if headers:
        told["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return told


ORIGIN: Responses = {403: _refusal("By that name, or for pages of that origin: no")}
"""Of what everybody may ask who may come in at all."""
LOGIN: Responses = {
    401: _refusal("No key or token, or a bad one", "WWW-Authenticate"),
    403: _refusal("The scope is missing; or by that name, or for pages of that origin: no"),
    503: _refusal(
        "The keys that tokens are checked with, or what is asked for, cannot be had now",
        "Retry-After",
    ),
}
REFUSALS: Responses = {
    400: _refusal("It cannot be done; the message says why"),
    **LOGIN,
    422: _refusal("A parameter or the body is not of the form asked for"),
    429: _refusal("Too many connections", "Retry-After"),
}
BODY: Responses = {
    408: _refusal("The body did not come in time"),
    413: _refusal("The body is too big"),
}
NOT_FOUND: Responses = {404: _refusal("No such one of yours")}
