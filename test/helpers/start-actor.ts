/** An actor alone under its supervisor, as the unit tests of single actors use it. */
import type { ChildSpec, Ref } from '../../src/actor/actor.ts';
import type { Supervisor } from '../../src/actor/supervisor.ts';

export function startActor<Message>(supervisor: Supervisor, spec: ChildSpec<Message>): Ref<Message> {
  const ref = supervisor.declare(spec);
  supervisor.start();
  return ref;
}
