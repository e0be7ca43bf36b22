"""The multi-head evaluator on an image-text-to-text model of transformers: rows of questions, model, saving."""
