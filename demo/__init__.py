"""A family of small language models, trained from scratch, to try globa-tui on."""
