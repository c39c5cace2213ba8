"""SAM's image embeddings, computed once while its encoder is frozen, and read by training and evaluation."""
