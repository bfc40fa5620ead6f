"""Consoles: interfaces for people, in the browser, on this machine only."""
