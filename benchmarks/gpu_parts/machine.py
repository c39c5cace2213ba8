"""How processes that share a machine are told to behave."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment of a process that has one core for itself: more threads would wait for each other."""
