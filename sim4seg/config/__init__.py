"""params.yaml as typed models: one file a section, so that a stage depends on the schema of its own alone."""
