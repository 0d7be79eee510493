/**
 * Google Drive as a registry: `<root>/<collection...>/<image>:<tag>.sif`. store.ts is the folder as a store, finder.ts and folders.ts
 * find files and folders by name, drive.ts sends the requests, login.ts logs in.
 */
import { defineDriver } from '../backend.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { declaration } from './declaration.ts';
import { Drive } from './drive.ts';
import { logIn, logOut } from './login.ts';
import { driveStore } from './store.ts';

/**
 * The Python client adds the sha256 of what it pushes as a version, so that a tag may have no file of its own: then it stands for the
 * newest of its versions.
 */
const LAYOUT = createLayout({ newestVersion: true });

export default defineDriver({
  ...declaration,
  create(context) {
    const drive = new Drive(context);
    return storeBackend(driveStore(drive, context), LAYOUT, {
      name: context.name,
      driver: declaration.name,
      // The Python client's: what it pushes as `ubuntu` is `library/ubuntu:latest.sif`.
      defaultCollection: 'library',
      http: () => drive.http,
    });
  },
  login: logIn,
  logout: logOut,
});
