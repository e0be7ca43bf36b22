"""One short file per verb of the command line."""
