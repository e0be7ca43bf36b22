"""What a run is told: the schema, how its layers compose, the messages for mistakes, the layout of a run's folder."""
