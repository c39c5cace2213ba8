"""Training images changed by chance, and what is asked and said about them changed with them."""
