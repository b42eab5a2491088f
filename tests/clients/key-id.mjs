// Which access key the environment leads to, by the AWS SDK for JavaScript v3.
//
// With a number (`3`) it says so that many times, once more for each line it reads, as a program that runs for long
// would.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// The packages lie where tests/all has put them, not beside this file.
const installed = createRequire(process.env.NODE_PACKAGES);
const { STSClient } = installed("@aws-sdk/client-sts");

const client = new STSClient({});
const say = async () => console.log((await client.config.credentials()).accessKeyId);
let times = Number(process.argv[2] ?? 1);

await say();
if (--times > 0) {
    for await (const _ of createInterface({ input: process.stdin })) {
        await say();
        if (--times === 0) break;
    }
    process.stdin.destroy();
}
