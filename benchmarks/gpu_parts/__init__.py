"""What `benchmarks/gpu.py` measures, one module a part; each runs in a process of its own."""
