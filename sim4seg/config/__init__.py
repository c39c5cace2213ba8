"""params.yaml as typed sections, one file a section, so that a stage depends on the schema of its own sections alone.

The schema says what a key means and may be; its value stands in params.yaml, and no key has a default in the code. What
decides a result can thus be read in one file, and DVC sees when it changes.

To add a key:

1. Name it in its section's file here, with its type, its bounds and a line on its meaning, without a default.
2. Write its value into params.yaml and into each infra/train/params.*.yaml.
3. If the section is one of those in `sim4seg/config/recorded.py`, say there what its absence from an older file means.
4. In tests, `tests.settings.settings(Section, key=value)` gives params.yaml's values with changes laid over them.

``tests/house/test_config.py`` fails if one of the first three is forgotten.
"""
