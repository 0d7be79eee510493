/**
 * Dropbox as a registry: `<root>/<collection...>/<image>:<tag>.sif`. store.ts is the folder as a store, upload.ts stores files, api.ts
 * sends the requests, failure.ts reads the refusals, login.ts logs in.
 */
import { defineDriver } from '../backend.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { DropboxApi } from './api.ts';
import { declaration } from './declaration.ts';
import { logIn, logOut } from './login.ts';
import { dropboxStore } from './store.ts';

export default defineDriver({
  ...declaration,
  create(context) {
    const api = new DropboxApi(context);
    return storeBackend(dropboxStore(api, context.options.root), createLayout(), {
      name: context.name,
      driver: declaration.name,
      // The Python client's: what it pushes as `ubuntu` is `library/ubuntu:latest.sif`.
      defaultCollection: 'library',
      http: () => api.http,
    });
  },
  login: logIn,
  logout: logOut,
});
