"""S3, or anything that speaks it: the only package of the library that imports boto3."""
