"""Serving: a web page for speech-to-intent models and class-incremental runs."""
