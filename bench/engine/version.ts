/**
 * Versions of the API: how they compare, which are refused and in what words, what `/version` says.
 */

const json = 'Content-Type: application/json\r\n';
/** Clients of before 1.24 read errors as plain text. */
const plain = 'Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n';

/** Why a version in a path is refused: type header and body. Undefined when it is spoken. */
export function refuseVersion(version: string, api: string, minApi: string): [string, string] | undefined {
  const tooNew = compareVersions(version, api) > 0;
  if (!tooNew && compareVersions(version, minApi) >= 0) return undefined;
  const text = tooNew
    ? `client version ${version} is too new. Maximum supported API version is ${api}`
    : `client version ${version} is too old. Minimum supported API version is ${minApi}, please upgrade your client to a newer version`;
  return compareVersions(version, '1.24') < 0 ? [plain, `${text}\n`] : [json, `${JSON.stringify({ message: text })}\n`];
}

export function compareVersions(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export function serverVersion(api: string): string {
  return compareVersions(api, '1.52') < 0 ? '20.10.24+dfsg1' : '29.0.0';
}

export function versionText(ApiVersion: string, MinAPIVersion: string): string {
  const Version = serverVersion(ApiVersion);
  const GitCommit = '5d6db84';
  const BuildTime = '2026-05-07T21:09:36.000000000+00:00';
  const built = { GitCommit, GoVersion: 'go1.19.8', Os: 'linux', Arch: 'amd64', KernelVersion: '6.1.0-amd64' };
  const { Arch, GoVersion, KernelVersion, Os } = built;
  const engine = {
    ApiVersion,
    Arch,
    BuildTime,
    Experimental: 'false',
    GitCommit,
    GoVersion,
    KernelVersion,
    MinAPIVersion,
    Os,
  };
  return JSON.stringify({
    Platform: { Name: '' },
    Components: [
      { Name: 'Engine', Version, Details: engine },
      { Name: 'containerd', Version: '1.6.20~ds1', Details: { GitCommit: '1.6.20~ds1-1+deb12u3' } },
      { Name: 'runc', Version: '1.1.5+ds1', Details: { GitCommit: '1.1.5+ds1-1+deb12u1' } },
      { Name: 'docker-init', Version: '0.19.0', Details: { GitCommit: '' } },
    ],
    Version,
    ApiVersion,
    MinAPIVersion,
    ...built,
    BuildTime,
  });
}
