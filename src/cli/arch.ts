/** The option of commands that choose one image. A mount has it too. */
export const ARCH_OPTION = {
  arch: {
    type: 'string',
    requiresArg: true,
    describe: 'Architecture of images that exist for several: amd64, arm64, arm/v7 [this machine]',
  },
} as const;
