// What the AWS SDK for JavaScript v3 reads in the AWS configuration of its environment: profiles and sso-sessions.

import { createRequire } from "node:module";

// The packages lie where tests/all has put them, not beside this file.
const installed = createRequire(process.env.NODE_PACKAGES);
const { loadSharedConfigFiles, loadSsoSessionData } = installed("@smithy/core/config");

const { configFile } = await loadSharedConfigFiles();
console.log(JSON.stringify({ profiles: configFile, sso_sessions: await loadSsoSessionData() }));
