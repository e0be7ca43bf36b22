"""Text-to-image models judged by reward models on the same prompts: what is scored, and the numbers that follow."""
