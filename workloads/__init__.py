"""Workloads and model presets, one YAML file each."""
