"""Telephone lines: Twilio Media Streams and Asterisk AudioSocket."""
