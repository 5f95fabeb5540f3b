/**
 * Globs: `*` is any text and `?` any character, also a slash.
 *
 * Containers write some of them. A regular expression with many stars would try each way to part a text between them, so
 * only the last star is ever tried again: the time is at most the product of both lengths.
 */
export function matchesGlob(glob: string, text: string): boolean {
  let at = 0;
  let index = 0;
  let star = -1;
  let retry = 0;
  while (index < text.length) {
    const want = glob[at];
    if (want === '*') {
      star = at++;
      retry = index;
    } else if (want === '?' || want === text[index]) {
      at++;
      index++;
    } else if (star >= 0) {
      at = star + 1;
      index = ++retry;
    } else return false;
  }
  while (glob[at] === '*') at++;
  return at === glob.length;
}
