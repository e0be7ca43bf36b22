"""Evaluation rules (protocols), intervals and baselines, all as functions of the predictions table."""
