"""Losses: a model's output and labels in, one number and its parts out."""
