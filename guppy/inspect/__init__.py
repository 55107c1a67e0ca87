"""What is asked of a model: one file for each question. Results are dataclasses of tensors; drawing is elsewhere."""
