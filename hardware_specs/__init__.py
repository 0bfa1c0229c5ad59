"""CPU descriptions, one YAML file a CPU."""
