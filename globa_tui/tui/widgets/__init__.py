"""Widgets of the interface, one per file."""
