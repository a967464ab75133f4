"""Video timelines in XML to a multi-track transformer, and back."""
