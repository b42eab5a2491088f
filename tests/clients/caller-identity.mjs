// Says who it is with credentials from its profile, by the AWS SDK for JavaScript v3. The endpoint is this machine's.
//
// By itself the SDK tries one provider after the other and, when none has anything, does not say why. Asked for the
// process of the profile and nothing else (`--process-only`), it passes on what the process said.

import { createRequire } from "node:module";

// The packages lie where tests/all has put them, not beside this file.
const installed = createRequire(process.env.NODE_PACKAGES);
const { GetCallerIdentityCommand, STSClient } = installed("@aws-sdk/client-sts");
const { fromProcess } = installed("@aws-sdk/credential-provider-process");

const credentials = process.argv.includes("--process-only") ? { credentials: fromProcess() } : {};
const sts = new STSClient({ endpoint: process.env.STS_STUB, ...credentials });
console.log((await sts.send(new GetCallerIdentityCommand({}))).Arn);
