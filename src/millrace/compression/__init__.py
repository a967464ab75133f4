"""SAR images to a real compressed file: sample, prepare, train, evaluate, compress, decompress."""
