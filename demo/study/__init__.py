"""The papers' claims and our suggestions, judged on many pairs of small fine-tunes: ``python -m demo.study``."""
