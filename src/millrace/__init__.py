"""Millrace: five model families from raw files to an evaluated model, as one DVC repository."""
