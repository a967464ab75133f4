"""FCPXML, as Final Cut Pro X and its successors write it."""
