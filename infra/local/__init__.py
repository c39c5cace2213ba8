"""The team stack as processes on one machine, without docker: for development and for tests."""
