/** The files of a drive: names that repeat, properties with their limits, revisions, a trash. */
import { createHash, randomBytes } from 'node:crypto';
import { invalid, notFound, Refusal } from '../gcs/refusal.ts';

export const FOLDER = 'application/vnd.google-apps.folder';

export interface FakeRevision {
  readonly id: string;
  readonly bytes: Buffer;
  readonly modified: Date;
}

export interface FakeFile {
  readonly id: string;
  name: string;
  mimeType: string;
  parents: string[];
  trashed: boolean;
  properties: Record<string, string>;
  readonly created: Date;
  modified: Date;
  /** `me`, or an address. */
  readonly owner: string;
  /** Empty for folders and documents. The last one is the head. */
  revisions: FakeRevision[];
  readonly permissions: Record<string, unknown>[];
  thumbnail?: { readonly image: string; readonly mimeType: string } | undefined;
  /** Id of its shared drive. */
  readonly driveId?: string | undefined;
}

type Resource = Readonly<Record<string, unknown>>;

export const newId = () => randomBytes(16).toString('base64url');

/** "Custom file properties" */
const PROPERTY_BYTES = 124;
const MAX_PUBLIC = 30;
/** Base64 of 2 MB. */
const MAX_THUMBNAIL = 2_796_204;

export class FakeFiles {
  readonly all = new Map<string, FakeFile>();
  readonly root: FakeFile;

  constructor() {
    this.root = this.add({ name: 'My Drive', mimeType: FOLDER, parents: [] });
  }

  add(more: Partial<FakeFile> & { readonly bytes?: Buffer }): FakeFile {
    const { bytes, ...given } = more;
    const now = new Date();
    const file: FakeFile = {
      id: newId(),
      name: 'Untitled',
      mimeType: 'application/octet-stream',
      parents: [this.root?.id ?? ''],
      trashed: false,
      properties: {},
      created: now,
      modified: now,
      owner: 'me',
      permissions: [],
      ...given,
      revisions: given.revisions ?? [],
    };
    if (bytes !== undefined) file.revisions = [{ id: newId(), bytes, modified: file.modified }];
    this.all.set(file.id, file);
    return file;
  }

  /** `root` is an alias. Files of shared drives do not exist for those who do not ask for them. */
  find(id: string, sees: boolean): FakeFile {
    const file = id === 'root' ? this.root : this.all.get(id);
    if (file === undefined || (file.driveId !== undefined && !sees)) throw notFound(`File not found: ${id}.`);
    return file;
  }

  isTrashed(file: FakeFile): boolean {
    if (file.trashed) return true;
    return file.parents.some((parent) => {
      const folder = this.all.get(parent);
      return folder !== undefined && this.isTrashed(folder);
    });
  }

  /** What a request for a new file is refused for, before any content is there. */
  check(resource: Resource, sees: boolean, before?: FakeFile): void {
    const { parents, properties, contentHints } = resource;
    if (before !== undefined && parents !== undefined)
      throw new Refusal(
        403,
        'fieldNotWritable',
        'The parents field is not directly writable in update requests.',
      );
    if (parents !== undefined) {
      if (!Array.isArray(parents) || parents.length !== 1)
        throw new Refusal(400, 'invalid', 'A file must have exactly one parent.');
      const folder = this.find(String(parents[0]), sees);
      if (folder.mimeType !== FOLDER)
        throw new Refusal(403, 'parentNotAFolder', 'The specified parent is not a folder.');
    }
    const merged = mergeProperties(before?.properties, properties);
    for (const [key, value] of Object.entries(merged))
      if (Buffer.byteLength(key) + Buffer.byteLength(value) > PROPERTY_BYTES)
        throw invalid(`Property keys and values may have ${PROPERTY_BYTES} bytes together: ${key}`);
    if (Object.keys(merged).length > MAX_PUBLIC)
      throw new Refusal(403, 'propertyLimitExceeded', 'The limit for public properties was exceeded.');
    checkThumbnail((contentHints as Resource | undefined)?.thumbnail as Resource | undefined);
  }

  create(resource: Resource, bytes: Buffer | undefined): FakeFile {
    const [parent = this.root.id] = (resource.parents ?? []) as string[];
    const folder = this.find(parent, true);
    return this.add({
      ...writable(resource),
      parents: [folder.id],
      driveId: folder.driveId,
      properties: mergeProperties({}, resource.properties),
      ...(bytes && { bytes }),
    });
  }

  /** Changes what the resource names, and replaces the content if there is some. */
  update(file: FakeFile, resource: Resource, bytes?: Buffer): FakeFile {
    Object.assign(file, writable(resource));
    file.properties = mergeProperties(file.properties, resource.properties);
    if (typeof resource.trashed === 'boolean') file.trashed = resource.trashed;
    if (bytes === undefined) return file;
    file.modified = new Date();
    file.revisions.push({ id: newId(), bytes, modified: file.modified });
    return file;
  }
}

function writable(resource: Resource): Partial<FakeFile> {
  const { name, mimeType, modifiedTime, contentHints } = resource;
  const thumbnail = (contentHints as { thumbnail?: FakeFile['thumbnail'] } | undefined)?.thumbnail;
  return {
    ...(typeof name === 'string' && { name }),
    ...(typeof mimeType === 'string' && { mimeType }),
    ...(typeof modifiedTime === 'string' && { modified: new Date(modifiedTime) }),
    ...(thumbnail && { thumbnail }),
  };
}

/** A request changes the properties that it names; null removes one. */
function mergeProperties(before: Record<string, string> = {}, changes: unknown): Record<string, string> {
  const merged = Object.entries({ ...before, ...((changes ?? {}) as Record<string, string | null>) });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== null));
}

function checkThumbnail(thumbnail: Resource | undefined): void {
  if (thumbnail === undefined) return;
  const { image, mimeType } = thumbnail;
  const isPicture = typeof mimeType === 'string' && /^image\/(png|jpeg|gif|webp)$/.test(mimeType);
  if (
    !isPicture ||
    typeof image !== 'string' ||
    !/^[\w-]+={0,2}$/.test(image) ||
    image.length > MAX_THUMBNAIL
  )
    throw invalid('The thumbnail is not valid.');
}

/** The resource with every field that clients ask for; undefined for what the file does not have. */
export function describeFile(file: FakeFile, files: FakeFiles, origin: string, canReadRevisions: boolean) {
  const head = file.revisions.at(-1);
  const hash = (name: string) => head && createHash(name).update(head.bytes).digest('hex');
  const isPublic = file.permissions.some(({ type }) => type === 'anyone');
  const user = { kind: 'drive#user', me: file.owner === 'me', emailAddress: file.owner };
  return {
    kind: 'drive#file',
    id: file.id,
    name: file.name,
    mimeType: file.mimeType,
    parents: file.parents.length > 0 ? file.parents : undefined,
    trashed: files.isTrashed(file),
    explicitlyTrashed: file.trashed,
    properties: Object.keys(file.properties).length > 0 ? file.properties : undefined,
    appProperties: undefined,
    createdTime: file.created.toISOString(),
    modifiedTime: file.modified.toISOString(),
    size: head && String(head.bytes.length),
    md5Checksum: hash('md5'),
    sha1Checksum: hash('sha1'),
    sha256Checksum: hash('sha256'),
    headRevisionId: head?.id,
    originalFilename: head && file.name,
    owners: file.driveId === undefined ? [user] : undefined,
    ownedByMe: file.driveId === undefined ? file.owner === 'me' : undefined,
    driveId: file.driveId,
    shared: isPublic,
    capabilities: { canReadRevisions, canEdit: canReadRevisions, canDownload: true },
    webViewLink: `${origin}/file/d/${file.id}/view`,
    webContentLink: head && `${origin}/uc?id=${file.id}&export=download`,
    exportLinks: undefined,
    shortcutDetails: undefined,
    resourceKey: undefined,
    description: undefined,
    permissionIds: undefined,
  };
}
