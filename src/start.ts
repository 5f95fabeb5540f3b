#!/usr/bin/env node
/**
 * The entry of the package: refuses a Node that is too old, and starts the program (`cli.ts`) with any other.
 *
 * Such a Node cannot load the modules of the program, and would end with an error about one of them. So this file imports none at once.
 */

/** As `engines` in package.json. */
const needed = { major: 20, minor: 19 };

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < needed.major || (major === needed.major && minor < needed.minor)) {
  process.stderr.write(
    `discover: Node ${needed.major}.${needed.minor} or newer is needed, this is ${process.versions.node}. ` +
      'The deb, the one file and the image bring a Node along\n',
  );
  process.exit(78);
}
await import('./cli.ts');
