"""Searching for the coefficients of a merge: candidates, searches, and models built in memory from stored factors."""
