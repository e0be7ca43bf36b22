"""The LightningModules, and how their parameters are grouped and scheduled."""
