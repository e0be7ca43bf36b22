"""The recipes (YAML) that ship with rewardkit; imported as ``rewardkit.recipes``."""
