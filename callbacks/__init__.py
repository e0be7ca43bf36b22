"""Lightning callbacks that recipes name by their short names; imported as ``rewardkit.callbacks``."""
