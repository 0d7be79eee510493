import { describe, expect, test } from 'vitest';
import { addressOf, endpointOf } from '../../../src/backends/s3/endpoint.ts';
import { s3Options } from '../../servers/s3.ts';

const endpoint = (options: Record<string, string>) =>
  endpointOf('s3', s3Options({ bucket: 'images', ...options }));
const address = (options: Record<string, string> = {}, region?: string) => {
  const { addressIn, region: first } = endpoint(options);
  return addressOf(addressIn(region ?? first), 'lab/hello:1.0.sif').href;
};

describe('where a bucket lies', () => {
  test.each([
    [
      'at Amazon it stands in front of the host',
      {},
      'https://images.s3.us-east-1.amazonaws.com/lab/hello%3A1.0.sif',
    ],
    [
      'at Amazon in China, too',
      { region: 'cn-north-1' },
      'https://images.s3.cn-north-1.amazonaws.com.cn/lab/hello%3A1.0.sif',
    ],
    [
      'a name with dots, which a certificate does not cover, stands in the path',
      { bucket: 'my.images' },
      'https://s3.us-east-1.amazonaws.com/my.images/lab/hello%3A1.0.sif',
    ],
    [
      "the region of one of Amazon's endpoints counts",
      { base: 'https://s3.eu-west-1.amazonaws.com' },
      'https://images.s3.eu-west-1.amazonaws.com/lab/hello%3A1.0.sif',
    ],
    [
      'everywhere else the bucket stands in the path',
      { base: 'https://ceph.example.org/' },
      'https://ceph.example.org/images/lab/hello%3A1.0.sif',
    ],
    [
      'a service may lie below a path',
      { base: 'https://example.org/storage/v1/s3' },
      'https://example.org/storage/v1/s3/images/lab/hello%3A1.0.sif',
    ],
    [
      'addressing=virtual puts the bucket in front of any host',
      { base: 'https://oss.example.org:8443', addressing: 'virtual' },
      'https://images.oss.example.org:8443/lab/hello%3A1.0.sif',
    ],
    [
      'addressing=path puts it into the path, at Amazon as well',
      { addressing: 'path' },
      'https://s3.us-east-1.amazonaws.com/images/lab/hello%3A1.0.sif',
    ],
    [
      'a bucket of another tenant of Ceph keeps its colon',
      { base: 'http://localhost:7480', bucket: 'tenant:images' },
      'http://localhost:7480/tenant%3Aimages/lab/hello%3A1.0.sif',
    ],
  ])('%s', (_what, options, expected) => {
    expect(address(options)).toBe(expected);
  });

  test('what people see names no region, as buckets are not moved between them', () => {
    expect(endpoint({ region: 'eu-west-1' }).target).toBe('https://s3.amazonaws.com/images');
    expect(endpoint({ base: 'http://localhost:7480/' }).target).toBe('http://localhost:7480/images');
  });

  test('another region is another address at Amazon, and the same elsewhere', () => {
    expect(address({}, 'eu-west-1')).toContain('images.s3.eu-west-1.amazonaws.com');
    expect(address({ base: 'http://localhost:9000' }, 'eu-west-1')).toContain(
      'http://localhost:9000/images/',
    );
  });

  test('keys and queries are encoded as signatures want it', () => {
    const url = addressOf(endpoint({}).addressIn('us-east-1'), "a b/c+d~(e)!'*=ü", {
      prefix: 'x/ y+*',
      none: undefined,
    });
    expect(url.pathname).toBe('/a%20b/c%2Bd~%28e%29%21%27%2A%3D%C3%BC');
    expect(url.search).toBe('?prefix=x%2F%20y%2B%2A');
  });

  test.each([
    [{ bucket: '../etc' }],
    [{ bucket: '' }],
    [{ bucket: 'a/b' }],
    [{ region: 'eu/../x' }],
    [{ addressing: 'both' }],
    [{ bucket: 'My_Images', addressing: 'virtual' }],
  ])('%j is the error SETTINGS', (options) => {
    expect(() => endpoint(options)).toThrow(expect.objectContaining({ code: 'SETTINGS' }));
  });
});
