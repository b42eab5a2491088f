"""Which access key the environment leads to, by boto3.

With a number (`3`) it says so that many times, once more for each line it reads, as a program that runs for long would.
"""

import sys

import boto3

credentials = boto3.Session().get_credentials()
for time in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
    if time > 0 and not sys.stdin.readline():
        break
    print(credentials.access_key, flush=True)
