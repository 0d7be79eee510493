/**
 * What `import ... from 'sregistry'` gives: `getClient` with the helpers of the Python client, and below it a session over the
 * configured backends with its operations.
 */
export type {
  Backend,
  Driver,
  LoginContext,
  LoginUi,
  OptionChanges,
  Progress,
  SearchQuery,
  ShareOptions,
} from '../backends/backend.ts';
export { describeError, type ErrorCode, isError, SregistryError } from '../base/errors.ts';
export { version } from '../base/version.ts';
export type { Container } from '../catalog/container.ts';
export type { LabelFilter, LabelUse } from '../catalog/labels.ts';
export type { Addition, Library } from '../catalog/library.ts';
export type { ImageName } from '../image/name.ts';
export type { ListEntry, RemoteImage } from '../image/remote.ts';
export type { Bot } from '../log/index.ts';
export type { Settings } from '../settings/settings.ts';
export { type AddRequest, addImage } from './add.ts';
export {
  credentialsOf,
  type GivenLogin,
  type LoginStatus,
  login,
  loginStatus,
  loginWith,
  logout,
} from './auth.ts';
export type { FlowOptions, Invitation, OAuthService, Tokens } from './auth-flow.ts';
export { hostStatus, hostsWithLogin, isRegistryHost, loginToHost, logoutFromHost } from './auth-host.ts';
export {
  type BackendSummary,
  type DriverCapabilities,
  describeBackend,
  listBackends,
  listCapabilities,
} from './backends.ts';
export {
  type CacheEntry,
  type CacheUsage,
  cacheUsage,
  listCache,
  type PruneOptions,
  pin,
  prune,
  type Verification,
  verify,
} from './cache.ts';
export type { Client, ClientOptions } from './client.ts';
export { type Copied, type CopyOptions, copy } from './copy.ts';
export * from './helpers.ts';
export { type ImageSummary, listImages, renameImage } from './images.ts';
export { type Facts, inspect, inspectAll, inspectParts, listFiles } from './inspect.ts';
export { listLabels } from './labels.ts';
export { openUserLibrary } from './library.ts';
export { type Pulled, type PullOptions, pull } from './pull.ts';
export { type Pushed, type PushOptions, push } from './push.ts';
export { listPushes, type PushSummary } from './pushes.ts';
export { findRemovable, remove } from './remove.ts';
export { type FoundImage, type SearchOutcome, type SearchRequest, search, summarize } from './search.ts';
export { Session, type SessionOptions } from './session.ts';
export { share } from './share.ts';
export { signaturesOf, verifyImage } from './signatures.ts';
export { findImage, findUsableImage, parseTarget, type Target } from './target.ts';
