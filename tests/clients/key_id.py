"""Which access key the profile of the environment leads to, by boto3."""

import boto3

print(boto3.Session().get_credentials().access_key)
