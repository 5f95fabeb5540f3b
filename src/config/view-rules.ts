/** The views that options ask for, as rules. Refuses views that no reader could find, and warns of surprising ones. */
import { messageOf } from '../errors.ts';
import { checkRule, customRule, presets, type Rule } from '../layout/views.ts';
import type { Choice } from './choice.ts';

export function viewRulesOf(choice: Choice, prefix: string): Rule[] {
  const { views } = choice.values;
  const { custom = [], ...roots } = views;
  const rules: Rule[] = [];
  const add = (path: string, given: string, make: () => Rule[]) => {
    try {
      for (const rule of make()) {
        checkRule(rule, prefix);
        if (rules.some(({ key }) => key === rule.key)) throw new Error('must be unlike the keys of other views');
        rules.push(rule);
      }
    } catch (error) {
      choice.refuse(path, messageOf(error), JSON.stringify(given));
    }
  };
  for (const [name, preset] of Object.entries(presets)) {
    const root = roots[name as keyof typeof presets];
    if (root !== undefined) add(`views.${name}`, root, () => preset(root));
  }
  for (const text of custom) {
    add('views.custom', text, () => [customRule(text)]);
    warnOfCollisions(choice, text);
  }
  if (roots.traefik?.startsWith('/')) {
    choice.refuse('views.traefik', 'must not begin with a slash: Traefik reads keys without one', `"${roots.traefik}"`);
  }
  if (roots.grpc?.startsWith('/')) {
    const reason = `begins with a slash, so targets must as well: etcd:///${roots.grpc}/<realm>/<name>`;
    choice.warnings.push({ path: 'views.grpc', origin: choice.origin('views.grpc'), reason });
  }
  return rules;
}

/** A container may offer one name on several ports, or on one port by several protocols. */
function warnOfCollisions(choice: Choice, template: string): void {
  const [key = ''] = template.trim().split(/\s/, 1);
  const has = (variable: string) => new RegExp(`{{${variable}(:\\w+)?}}`).test(key);
  if (has('index')) return; // It counts the offers of a container.
  const missing = ['privatePort', 'protocol'].filter((variable) => !has(variable));
  if (missing.length === 0) return;
  const what = missing.map((variable) => (variable === 'protocol' ? 'protocols' : 'ports')).join(' and ');
  const reason = `does not tell ${what} of a container apart, so that only one of them has a key: add ${missing
    .map((variable) => `{{${variable}}}`)
    .join(' and ')}`;
  choice.warnings.push({ path: 'views.custom', origin: choice.origin('views.custom'), reason, got: `"${template}"` });
}
