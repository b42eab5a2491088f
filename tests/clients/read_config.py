"""What botocore reads in AWS configuration files.

Takes a JSON list of files, each as hexadecimal, on standard input, and writes a JSON list: null for a file that botocore
refuses, else its profiles, sso-sessions and services.
"""

import json
import os
import sys
import tempfile

from botocore.configloader import load_config
from botocore.exceptions import ConfigParseError

with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "config")
    read = []
    for content in json.load(sys.stdin):
        with open(path, "wb") as file:
            file.write(bytes.fromhex(content))
        try:
            config = load_config(path)
            read.append({kind: config[kind] for kind in ("profiles", "sso_sessions", "services")})
        except ConfigParseError:
            read.append(None)
json.dump(read, sys.stdout)
