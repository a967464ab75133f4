"""The training engine. Knows no task."""
