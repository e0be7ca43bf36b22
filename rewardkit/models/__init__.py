"""Reward models: batch in, scores out; their towers, heads, freezing, and the bundles they are shipped as."""
