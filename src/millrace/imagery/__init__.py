"""Reading, tiling and drawing images. Knows no task."""
