"""Muster: from raw texts or images and a few dozen labels to a model that has passed muster."""

__version__ = "0.1.0"
