"""Roofs from partly labelled aerial images: azimuth segments, superstructures, lines, roof mask and height."""
