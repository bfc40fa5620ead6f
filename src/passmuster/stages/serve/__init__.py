"""Serve: answer over HTTP with what a channel points at, and keep every answer before it is given.

A request goes down these files: `door` and `app` (HTTP) → `requests` or `inference_protocol` (what was asked) →
`batcher` (who waits with whom) → `answering` (which release answers, what is recorded) → the traffic segment → back.
`fleet` holds the releases and follows the channels, `server` opens the port and drains, `meters` counts.
"""
