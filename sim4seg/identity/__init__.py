"""What decides a result, as one value: the code that ran, the libraries, the settings and the data."""
