"""Kernels for AArch64, run on any host: compiled by the cross compiler, called under qemu-user through a small driver."""
