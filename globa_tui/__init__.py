"""globa-tui: diagnose how fine-tuned models overlap, layer by layer, and merge them."""

__version__ = "0.1.0"
