/**
 * Certificates made for the occasion: an authority of the test's own, and what it signs.
 *
 * By openssl, in files of the directory given, because files are what servers and discover are told of.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { requireCommand } from './run.ts';

/** Paths of PEM files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Authority {
  /** What those who trust it are given. */
  readonly ca: string;
  /**
   * A certificate for servers of these names, or for clients where there are none; negative days have passed. Its subject
   * is the name unless given.
   */
  sign(
    name: string,
    options?: { readonly names?: string; readonly days?: number; readonly subject?: string },
  ): Certificate;
}

const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'.split(' ');

export function createAuthority(directory: string, authority: string): Authority {
  const file = (name: string): string => path.join(directory, name);
  const openssl = (...args: readonly string[]): unknown =>
    execFileSync(requireCommand('openssl'), args, { stdio: 'pipe' });
  const [ca, caKey] = [file(`${authority}.pem`), file(`${authority}.key`)];
  openssl('req', '-x509', ...newKey, '-days', '2', '-subj', `/CN=${authority}`, '-keyout', caKey, '-out', ca);
  return {
    ca,
    sign: (name, { names, days = 2, subject = `/CN=${name}` } = {}) => {
      const [cert, key, request, extensions] = ['pem', 'key', 'csr', 'ext'].map((kind) => file(`${name}.${kind}`)) as [
        string,
        string,
        string,
        string,
      ];
      const use = names === undefined ? 'clientAuth' : `serverAuth,clientAuth\nsubjectAltName=${names}`;
      writeFileSync(extensions, `extendedKeyUsage=${use}`);
      openssl('req', ...newKey, '-subj', subject, '-keyout', key, '-out', request);
      const issuer = ['-CA', ca, '-CAkey', caKey, '-CAcreateserial'];
      const issue = (...period: readonly string[]): unknown =>
        openssl('x509', '-req', '-in', request, '-out', cert, '-extfile', extensions, ...issuer, ...period);
      try {
        issue('-days', String(days));
      } catch (error) {
        if (days > 0) throw error;
        // OpenSSL 3.5 takes no negative days, and older ones cannot be told the dates.
        issue('-not_before', '20200101000000Z', '-not_after', '20200102000000Z');
      }
      return { cert, key };
    },
  };
}
