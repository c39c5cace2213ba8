"""Two models on the same test cases: paired differences, how sure they are, and re-scoring where they are needed."""
