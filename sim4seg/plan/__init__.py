"""What a training step costs, counted without weights and before a GPU is paid for."""
