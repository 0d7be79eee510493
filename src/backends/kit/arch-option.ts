/** The option of drivers whose images may exist for several architectures. `--arch` sets it for one command (src/client/session.ts). */
export const ARCH_OPTION = {
  describe: 'Architecture of images that exist for several. Default: that of this machine',
  type: 'architecture',
  example: 'arm64',
} as const;
