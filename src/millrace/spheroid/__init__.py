"""Spheroid task: microscopy images to object masks and measurements."""
