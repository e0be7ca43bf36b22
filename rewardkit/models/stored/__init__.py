"""Checkpoints as trainings leave them (one file, ZeRO's folders, FSDP's), read tensor by tensor under one interface."""
