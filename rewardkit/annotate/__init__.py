"""AI annotation: models are asked about images, and what they said becomes answers of groups."""
