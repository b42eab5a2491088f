"""Says who it is with credentials from its profile, by boto3. The endpoint is this machine's."""

import os

import boto3

sts = boto3.Session().client("sts", endpoint_url=os.environ["STS_STUB"])
print(sts.get_caller_identity()["Arn"])
