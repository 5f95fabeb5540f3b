/**
 * `node .github/check-release.mjs v1.2.3`: may this tag be published?
 *
 * Only if package.json has that version and names its repository (npm makes `bugs` and `homepage` of that) and its author with an address
 * (the maintainer of the deb), and if CHANGELOG.md has a section for it and none that is pending. That section is written to
 * release-notes.md. The release workflow runs this before anything is installed, so it needs no package.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const [tag = ''] = process.argv.slice(2);
const { version, repository, author } = JSON.parse(readFileSync('package.json', 'utf8'));
const address = typeof repository === 'string' ? repository : repository?.url;
const maintainer = typeof author === 'string' ? author : `${author?.name} <${author?.email ?? ''}>`;
const [, ...sections] = readFileSync('CHANGELOG.md', 'utf8').split(/^## /m);
const [newest = ''] = sections;
const [heading] = newest.split('\n', 1);

const faults = [
  ...(tag === `v${version}` ? [] : [`the tag is ${tag}, package.json has ${version}`]),
  ...(heading.startsWith(`${version} `) ? [] : [`the newest section of CHANGELOG.md is "${heading}"`]),
  ...(address ? [] : ['package.json names no repository: npm pkg set repository=github:<owner>/<name>']),
  ...(/ <\S+@\S+>/.test(maintainer)
    ? []
    : ["package.json names no author with an address: npm pkg set author='<name> <address>'"]),
  ...(sections.some((section) => section.startsWith('Pending')) ? ['CHANGELOG.md has a section that is pending'] : []),
];
if (faults.length > 0) {
  console.error(`Not to be published: ${faults.join('; ')}`);
  process.exit(1);
}
writeFileSync('release-notes.md', newest.slice(heading.length).trim());
