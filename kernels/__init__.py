"""What runs on or asks about this host: detection, compiled kernels, microbenchmarks."""
