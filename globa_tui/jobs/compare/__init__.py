"""All merge methods on the same models and the same data: what each keeps, and what it costs."""
