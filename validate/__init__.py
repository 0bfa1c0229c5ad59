"""Calibration to the host and its proof: microbenchmarks, held-out kernels, predictions and their errors."""
