// Which access key the profile of the environment leads to, by the AWS SDK for JavaScript v3.

import { createRequire } from "node:module";

// The packages lie where tests/all has put them, not beside this file.
const installed = createRequire(process.env.NODE_PACKAGES);
const { STSClient } = installed("@aws-sdk/client-sts");

console.log((await new STSClient({}).config.credentials()).accessKeyId);
