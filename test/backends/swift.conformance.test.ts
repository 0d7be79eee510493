import { connectSwift, startSwift } from '../servers/swift.ts';
import { conformance } from './conformance.ts';

const MEBIBYTE = 1024 * 1024;

conformance({
  name: 'swift',
  needs: { swift: true },
  create: async () => {
    const service = await startSwift();
    await service.request('POST', '', { headers: { 'x-account-meta-temp-url-key': 'signs links' } });
    return {
      origin: service.url,
      connect: (at) => connectSwift(service, { segment: '6MiB' }, at),
      names: ['Upper/Case:V1', 'with space/a b:c d', 'per%cent+plus&and=so?#:~1', 'ünïcode/漢字:✓'],
      pages: { size: 5, rewrite: shortPages },
      // Four segments.
      large: 20 * MEBIBYTE,
      close: () => service.stop(),
    };
  },
});

/** Makes the pages of listings short. */
function shortPages(url: URL): void {
  if (url.searchParams.get('format') === 'json' && !url.searchParams.has('multipart-manifest'))
    url.searchParams.set('limit', '5');
}
