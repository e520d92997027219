"""A run as a document: one HTML file that needs nothing else, Markdown, CSV, JSON, or pictures for a paper."""
