"""Recordings by HTTP: the list, one recording's parts, its end; and the page that shows them.

Everybody gets their own recordings; with the scope ``admin`` everybody's.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from coda_voice.errors import ConversationError
from coda_voice.server.access import Caller, may_touch
from coda_voice.server.front import Front, refusal
from coda_voice.server.logins import caller_with
from coda_voice.server.recording import NAME
from coda_voice.server.recording_list import RecordingList
from coda_voice.server.routes.refusals import NOT_FOUND, REFUSALS, Responses

PARTS = {
    "audio": ("audio.flac", "audio/flac"),
    "events": ("events.jsonl", "application/jsonl"),
    "words": ("words.json", "application/json"),
}

MOST = 200
"""Recordings in one answer."""
LIST: Responses = {
    200: {
        "description": "The newest, or those older than `before`",
        "headers": {
            "Link": {
                "description": 'Where older ones are (`rel="next"`), if there are any',
                "schema": {"type": "string"},
            }
        },
    }
}

Name = Annotated[str, PathParameter(max_length=256, description="As the list gives it.")]


class RecordingInfo(BaseModel):
    """A recording: whose it is, when it was made, how long it is."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    conversation_id: str
    started: str
    seconds: float
    checkpoint: str
    agreed: str
    dropped: int
    complete: bool


def recording_routes(front: Front, recordings: Path) -> APIRouter:
    """Give the routes below ``/v1/recordings``, for the recordings in that folder."""
    router = APIRouter(prefix="/v1/recordings", tags=["recordings"], responses=REFUSALS)
    talker = caller_with(front, "talk")
    kept = RecordingList(recordings)
    finish_deletions(recordings)

    @router.get("", responses=LIST)
    async def list_recordings(
        response: Response,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        before: Annotated[str | None, Query(pattern=f"^{NAME.pattern}$")] = None,
        caller: Caller = talker,
    ) -> list[RecordingInfo]:
        """List your recordings, newest first: those older than `before`, `limit` at most.

        Where there are more, the header `Link` has where they are (`rel="next"`).
        """
        found = await asyncio.to_thread(
            kept.newest,
            before=before,
            of=lambda user_id: may_touch(caller, user_id),
            most=limit + 1,
        )
        given = found[:limit]
        if len(found) > limit:
            older = f"{router.prefix}?limit={limit}&before={given[-1].name}"
            response.headers["Link"] = f'<{older}>; rel="next"'
        return [RecordingInfo.model_validate(about) for about in given]

    @router.get(
        "/{name}/{part}",
        response_class=FileResponse,
        responses={
            200: {
                "description": "The part",
                "content": {kind: {} for _, kind in PARTS.values()},
            },
            206: {"description": "As much of it as `Range` asks for"},
            416: {"description": "There is no such `Range` in it"},
            **NOT_FOUND,
        },
    )
    async def part(name: Name, part: str, caller: Caller = talker) -> FileResponse:
        """Give a recording's ``audio`` (FLAC), ``events`` (a JSON a line) or ``words``."""
        folder = await asyncio.to_thread(_folder, kept, caller, name)
        if part not in PARTS or not (folder / PARTS[part][0]).is_file():
            raise ConversationError(f"A recording has no {part!r}.", "not_found")
        file, kind = PARTS[part]
        return PartOfRecording(folder / file, media_type=kind)

    @router.delete("/{name}", status_code=204, responses=NOT_FOUND)
    async def forget(name: Name, caller: Caller = talker) -> Response:
        """Delete a recording for good."""
        folder = await asyncio.to_thread(_folder, kept, caller, name)
        await asyncio.to_thread(_delete, folder)
        return Response(status_code=204)

    return router


class PartOfRecording(FileResponse):
    """A file as long as it was when it was asked for: it may be growing, and it may be deleted.

    More bytes than were announced would break the connection; so would a file that is gone.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the file; 404 if it has been deleted since it was looked up."""
        begun: Message | None = None
        left = 0
        sent = False

        async def bounded(message: Message) -> None:
            nonlocal begun, left, sent
            if message["type"] == "http.response.start":  # held back until the file is open
                begun, left = message, int(Headers(raw=message["headers"])["content-length"])
                return
            if begun is not None:
                (start, begun), sent = (begun, None), True
                await send(start)
            elif not left:
                return
            body = message.get("body", b"")[:left]
            left -= len(body)
            more = bool(left) and message.get("more_body", False)
            await send({"type": "http.response.body", "body": body, "more_body": more})

        try:
            await super().__call__(scope, receive, bounded)
        except (FileNotFoundError, RuntimeError):
            if sent or await asyncio.to_thread(Path(self.path).exists):
                raise
            await refusal(_missing(Path(self.path).parent.name))(scope, receive, send)


_DELETED = ".deleted"
"""Ends the name of a folder on its way out: no recording's has it, so none is listed."""


def finish_deletions(recordings: Path) -> None:
    """Delete what an earlier server was cut off from deleting."""
    for left in recordings.glob(f"*{_DELETED}"):
        shutil.rmtree(left, ignore_errors=True)


def _delete(folder: Path) -> None:
    """Delete a recording, that may be written to still; ConversationError if somebody else did."""
    gone = folder.with_name(folder.name + _DELETED)
    try:
        folder.rename(gone)  # at once: who writes its last words finds no folder, and makes none
    except FileNotFoundError as error:
        raise _missing(folder.name) from error
    shutil.rmtree(gone)


def _missing(name: str) -> ConversationError:
    return ConversationError(f"There is no recording {name!r} of yours.", "not_found")


def _folder(kept: RecordingList, caller: Caller, name: str) -> Path:
    folder = kept.find(name, of=lambda user_id: may_touch(caller, user_id))
    if folder is None:
        raise _missing(name)
    return folder
