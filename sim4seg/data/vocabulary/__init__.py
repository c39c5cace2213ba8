"""One YAML file of labels, targets and questions for each dataset."""
