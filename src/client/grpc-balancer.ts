/**
 * The policy of load balancing behind `discover:///`: calls go to the connected instances in proportion to their weights,
 * those of the lowest priority first, by the rules of `pick.ts`.
 *
 * grpc-js has `weighted_round_robin`, but its weights come from reports of the servers, and an address carries no
 * attribute. What grpc-js offers to other policies is used here: a policy is registered under its name, gets its
 * addresses together with its part of the service configuration, and keeps one connection for each address.
 */

import { connectivityState, experimental } from '@grpc/grpc-js';
import { type Ranked, rankedOf, Turns, weightOf } from './pick.ts';

const { createChildChannelControlHelper, endpointToString, LeafLoadBalancer, QueuePicker, UnavailablePicker } =
  experimental;
type Helper = experimental.ChannelControlHelper;
type Leaf = InstanceType<typeof LeafLoadBalancer>;

const policy = 'discover_weighted';

/** By the name of an endpoint. */
type Ranks = Readonly<Record<string, Ranked>>;

/** The part of a service configuration that chooses this policy. */
export const weightedBy = (ranks: Ranks): { readonly [policy]: object } => ({ [policy]: { ranks } });

/** For all channels made from now on. */
export function registerWeightedBalancer(): void {
  experimental.registerLoadBalancerType(policy, WeightedBalancer, WeightedConfig);
}

class WeightedConfig implements experimental.TypedLoadBalancingConfig {
  readonly ranks: Ranks;

  constructor(ranks: Ranks = {}) {
    this.ranks = ranks;
  }

  /** Only `weightedBy` makes it. In a configuration that was written by hand all weights are equal. */
  static createFromJson({ ranks }: { readonly ranks?: Ranks }): WeightedConfig {
    return new WeightedConfig(ranks);
  }

  getLoadBalancerName(): string {
    return policy;
  }

  toJsonObject(): object {
    return weightedBy(this.ranks);
  }
}

class WeightedBalancer implements experimental.LoadBalancer {
  readonly #helper: Helper;
  readonly #helperOfLeaves: Helper;
  /** By the name of the endpoint. */
  readonly #leaves = new Map<string, Leaf>();
  #ranks: Ranks = {};
  #state = connectivityState.IDLE;
  #isUpdating = false;
  #lastError = '';

  constructor(helper: Helper) {
    this.#helper = helper;
    this.#helperOfLeaves = createChildChannelControlHelper(helper, {
      updateState: (state, _picker, error) => {
        if (this.#state === connectivityState.READY && state !== connectivityState.READY) helper.requestReresolution();
        this.#lastError = error ?? this.#lastError;
        this.#update();
      },
    });
  }

  updateAddressList(...[endpoints, config, options, note]: Parameters<experimental.LoadBalancer['updateAddressList']>) {
    if (!(config instanceof WeightedConfig)) return false;
    if (!endpoints.ok) {
      // The last addresses stay while there are no others.
      if (this.#leaves.size === 0) this.#fail(endpoints.error);
      return true;
    }
    this.#ranks = config.ranks;
    this.#isUpdating = true;
    const gone = new Map(this.#leaves);
    for (const endpoint of endpoints.value) {
      const name = endpointToString(endpoint);
      gone.delete(name);
      const leaf = this.#leaves.get(name) ?? new LeafLoadBalancer(endpoint, this.#helperOfLeaves, options, note);
      this.#leaves.set(name, leaf);
      leaf.startConnecting();
    }
    for (const [name, leaf] of gone) {
      this.#leaves.delete(name);
      leaf.destroy();
    }
    this.#isUpdating = false;
    this.#update();
    return true;
  }

  exitIdle(): void {
    // Every connection is opened at once, and again when it has ended.
  }

  resetBackoff(): void {
    // Each connection has its own.
  }

  destroy(): void {
    for (const leaf of this.#leaves.values()) leaf.destroy();
    this.#leaves.clear();
  }

  getTypeName(): string {
    return policy;
  }

  #update(): void {
    if (this.#isUpdating) return;
    const { READY, CONNECTING, TRANSIENT_FAILURE, IDLE } = connectivityState;
    const inState = (state: connectivityState) =>
      [...this.#leaves].filter(([, leaf]) => leaf.getConnectivityState() === state);
    const ready = inState(READY);
    if (ready.length > 0) this.#tell(READY, this.#pickerOf(ready));
    else if (inState(CONNECTING).length > 0) this.#tell(CONNECTING, new QueuePicker(this));
    else if (inState(TRANSIENT_FAILURE).length > 0) {
      this.#fail({ details: `No connection established. Last error: ${this.#lastError}` });
    } else if (this.#leaves.size === 0) this.#fail({ details: 'No instances' });
    else this.#tell(IDLE, new QueuePicker(this));
    for (const [, leaf] of inState(IDLE)) leaf.exitIdle();
  }

  #pickerOf(ready: readonly (readonly [name: string, leaf: Leaf])[]): experimental.Picker {
    const connected = ready.map(([name, leaf]) => ({ ...this.#ranks[name], picker: leaf.getPicker() }));
    const turns = new Turns(rankedOf(connected), weightOf);
    return { pick: (call) => turns.next().picker.pick(call) };
  }

  #fail(status: NonNullable<ConstructorParameters<typeof UnavailablePicker>[0]>): void {
    this.#tell(connectivityState.TRANSIENT_FAILURE, new UnavailablePicker(status), status.details ?? null);
  }

  #tell(state: connectivityState, picker: experimental.Picker, error: string | null = null): void {
    this.#state = state;
    this.#helper.updateState(state, picker, error);
  }
}
