"""Measuring models: what they are measured on, how, and what is kept of it."""
