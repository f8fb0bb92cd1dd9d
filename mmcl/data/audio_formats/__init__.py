"""Recordings in files, whatever their format: opened, measured, and read to the end.

What a header says about length is a claim. Each format has a file here that checks the claim against the content.
"""

from __future__ import annotations

#: suffixes of the files that are taken for recordings
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".spx", ".m4a", ".aac", ".webm", ".mka", ".wma"),
    *(".amr", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".mp2", ".wv"),
    *(".ac3", ".tta", ".ape"),
)
