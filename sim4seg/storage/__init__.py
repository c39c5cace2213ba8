"""S3, or anything that speaks it: the only package that imports boto3."""
