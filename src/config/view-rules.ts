/** The views that options ask for, as rules. Refuses views that no reader could find, and warns of surprising ones. */
import { messageOf } from '../errors.ts';
import { checkRule, customRule, presets, type Rule } from '../layout/views.ts';
import type { Choice } from './choice.ts';

export function viewRulesOf(choice: Choice, prefix: string): Rule[] {
  const { views } = choice.values;
  const { custom: _, ...roots } = views;
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
  for (const text of customLines(choice)) add('views.custom', text, () => [customRule(text)]);
  if (roots.traefik?.startsWith('/')) {
    choice.refuse('views.traefik', 'must not begin with a slash: Traefik reads keys without one', `"${roots.traefik}"`);
  }
  if (roots.grpc?.startsWith('/')) {
    const reason = `begins with a slash, so targets must as well: etcd:///${roots.grpc}/<realm>/<name>`;
    choice.warnings.push({ path: 'views.grpc', origin: choice.origin('views.grpc'), reason });
  }
  return rules;
}

/** The lines of `views.custom`; `{ "tcp": "<template>" }` is the same as `"tcp: <template>"`. */
export function customLines({ values }: Choice): readonly string[] {
  return (values.views.custom ?? []).flatMap((entry) => {
    if (typeof entry === 'string') return [entry.replace(/^\s*(\w+):\s*"(.*)"\s*$/s, '$1: $2')];
    return Object.entries(entry).map(([protocol, template]) => `${protocol}: ${template}`);
  });
}
