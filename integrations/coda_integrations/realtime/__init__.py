"""OpenAI's Realtime protocol (GA event names) over a voice that knows no turns."""
