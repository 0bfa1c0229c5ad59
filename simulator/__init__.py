"""lookupsim's model: machines, workloads, phases and the engines that time them."""

__version__ = "0.1.0"
