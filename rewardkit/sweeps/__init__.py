"""Searches over options of ``fit``: what to try next, trials as processes, what came of them. No torch is imported."""
