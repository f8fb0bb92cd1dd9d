"""Audio decoding for all formats: open a file, measure its length, and read it to the end.

Headers may claim a wrong length. Each format has a module here that checks the claim against the content.
"""

from __future__ import annotations

#: suffixes of files that are treated as recordings
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".spx", ".m4a", ".aac", ".webm", ".mka", ".wma"),
    *(".amr", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".mp2", ".wv"),
    *(".ac3", ".tta", ".ape"),
)
