"""Do the tests catch small mistakes? See docs/testing.md."""
