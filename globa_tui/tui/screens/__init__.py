"""Screens of the interface, one per file."""
