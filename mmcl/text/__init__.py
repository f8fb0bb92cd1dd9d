"""Text: how it is shown, suggested and compared."""
