"""Speech that is synthesised: espeak-ng, a command grammar, and corpora spoken from texts."""
