/** Helpers of the Python client for people who write or try a client. `sregistry shell` has them as globals. */
export { formatImageName, getUri, parseImageName, removeUri } from '../image/names.ts';
export { getThumbnail } from '../image/thumbnail.ts';
export { bot } from '../log/index.ts';
export { readClientSecrets, updateClientSecrets } from '../settings/secrets.ts';
export { authFlow, authFlowDevice, authFlowLoopback } from './auth-flow.ts';
export { getClient } from './client.ts';
export { mkdirP, readFile, readJson, writeFile, writeJson } from './files.ts';
