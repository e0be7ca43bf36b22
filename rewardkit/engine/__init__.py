"""Runs a LightningModule from values: trainer, strategies, loggers, the run's folder, resume."""
