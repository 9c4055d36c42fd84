"""``WS /v1/twilio``: telephone calls by Twilio Media Streams; ``POST /v1/twilio/voice`` answers
a number's webhook with the TwiML that connects the call.

    app.include_router(twilio_routes(LocalHost(manager), auth_token=TOKEN))
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import parse_qsl
from xml.sax.saxutils import quoteattr

from fastapi import APIRouter, Request, Response, WebSocket, WebSocketDisconnect

from coda_integrations.connection import ENDED, POLICY, EdgeConnection, close, refusal_code_of
from coda_integrations.host import EdgeHost, Guest, voice_of
from coda_integrations.line import CALL_BACKLOG_SECONDS, Line
from coda_integrations.telephony.silence import end_of_silent_call
from coda_integrations.telephony.twilio_call import (
    Action,
    HangUp,
    Interrupt,
    Sound,
    TwilioCall,
    Voice,
    WordMark,
)
from coda_integrations.telephony.twilio_codec import TwilioProtocolError, signed
from coda_voice.errors import VoiceProcessingError
from coda_voice.heard import Heard
from coda_voice.server.refusal_log import refused

START_SECONDS = 10.0
"""The call's ``start`` comes right behind the connection."""


def twilio_routes(
    host: EdgeHost, *, auth_token: str | None = None, public_url: str | None = None
) -> APIRouter:
    """Give the routes. With ``auth_token`` only requests signed by Twilio are served.

    ``public_url`` is what Twilio calls the server (``https://voice.example.org``), where a
    proxy stands before it; None takes it from each request.
    """
    router = APIRouter()

    def base(connection: Request | WebSocket) -> str:
        if public_url is not None:
            return public_url.rstrip("/")
        secure = connection.url.scheme in ("https", "wss")
        return f"{'https' if secure else 'http'}://{connection.url.netloc}"

    @router.post("/v1/twilio/voice")
    async def voice(request: Request) -> Response:
        """Answer a call: connect it to this server."""
        # Empty fields are signed, too: Twilio sends them where it does not know a caller's town.
        body = (await request.body()).decode("utf-8", "replace")
        fields = dict(parse_qsl(body, keep_blank_values=True))
        here = base(request)
        query = f"?{request.url.query}" if request.url.query else ""
        given = request.headers.get("x-twilio-signature")
        if auth_token is not None and not signed(
            given, f"{here}/v1/twilio/voice{query}", auth_token, fields
        ):
            refused("signature_invalid")
            return Response("The request is not signed by Twilio.", 403)
        url = "ws" + here.removeprefix("http") + "/v1/twilio"
        twiml = f"<Response><Connect><Stream url={quoteattr(url)}/></Connect></Response>"
        return Response(f'<?xml version="1.0" encoding="UTF-8"?>{twiml}', media_type="text/xml")

    @router.websocket("/v1/twilio")
    async def stream(websocket: WebSocket) -> None:
        guest = await _guest(host, websocket, auth_token, base(websocket))
        if guest is None:
            return
        await websocket.accept(guest.subprotocol)
        call = await _begun(websocket)
        if call is None:
            await close(websocket, POLICY)
            return
        if call.over:  # its caller was quicker than its start; what follows belongs to nobody
            refused("call_already_over")
            await close(websocket, ENDED)
            return
        if auth_token is not None:
            # A call of its own, as at Asterisk: a number proves nobody, and what one caller has
            # told is not for the next.
            guest = host.trusted(f"twilio:{call.call_sid}")
        try:
            async with host.line(guest) as line:
                connection = TwilioConnection(websocket, line, call)
                await connection.run(end_of_silent_call(line, host))
        except VoiceProcessingError as error:  # every slot taken, too many of one user, draining
            await close(websocket, refusal_code_of(error))

    return router


async def _guest(
    host: EdgeHost, websocket: WebSocket, auth_token: str | None, base: str
) -> Guest | None:
    if auth_token is None:
        return await host.admit(websocket, ())
    # Twilio signs the address it connects to, with its wss scheme.
    url = "ws" + base.removeprefix("http") + "/v1/twilio"
    if signed(websocket.headers.get("x-twilio-signature"), url, auth_token):
        return Guest()  # who it is, the call says
    refused("signature_invalid")
    with suppress(WebSocketDisconnect):
        await websocket.send_denial_response(Response("The request is not signed by Twilio.", 403))
    return None


async def _begun(websocket: WebSocket) -> TwilioCall | None:
    """Wait for the call to begin, or to be over: before, it has no name and needs no slot.

    None where neither comes; it is refused for that, unless it has gone.
    """
    call = TwilioCall()
    try:
        async with asyncio.timeout(START_SECONDS):
            while not (call.begun or call.over):
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return None
                call.message(message.get("text") or message.get("bytes") or "")
    except (TimeoutError, TwilioProtocolError):
        refused("start_missing")
        return None
    return call


class TwilioConnection(EdgeConnection):
    """One call on its socket."""

    def __init__(self, websocket: WebSocket, line: Line, call: TwilioCall) -> None:
        super().__init__(websocket, line)
        self.call = call
        line.backlog_seconds = CALL_BACKLOG_SECONDS
        self._voice = voice_of(line.conversation)

    def received(self, message: str | bytes) -> None:
        """Take a message of Twilio's; what is none ends the call."""
        try:
            self._perform(self.call.message(message))
        except TwilioProtocolError:
            self.end(POLICY)

    def heard(self, heard: Heard) -> None:
        """Pass the agent's sound on."""
        self._perform(self.call.heard(heard))

    def failed(self, error: VoiceProcessingError) -> None:
        """Say nothing: Twilio has no message for it, the call ends."""

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case str():
                    self.send(
                        action,
                        sound=isinstance(action, Voice),
                        behind_sound=isinstance(action, WordMark),
                    )
                case Sound(pcm):
                    self.line.put(pcm)
                case Interrupt():
                    self._voice.hush()
                case HangUp():
                    self.end()
