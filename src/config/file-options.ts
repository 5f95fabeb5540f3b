/**
 * The options of a configuration file and of `startAgent`: the table of options (`options.ts`) as types. They are
 * written out, so that a program that uses them needs no other package. A test compares the two.
 *
 * All of it is optional, and null means the same as absent.
 */

type Maybe<T> = T | null | undefined;

export interface Options {
  readonly workers?: Maybe<number>;
  readonly resync?: Maybe<number>;
  readonly debug?: Maybe<boolean>;
  readonly verbose?: Maybe<boolean>;
  readonly silly?: Maybe<boolean>;
  readonly log?: Maybe<string>;
  readonly discover?:
    | {
        readonly serviceVariable?: Maybe<string>;
        readonly sources?: Maybe<('variable' | 'label' | 'registrator')[]>;
        readonly explicit?: Maybe<boolean>;
        readonly label?: Maybe<string>;
        readonly namePolicy?: Maybe<'compat' | 'strict' | 'encode' | 'raw'>;
        readonly allow?: Maybe<string[]>;
      }
    | undefined;
  readonly publish?:
    | {
        readonly health?: Maybe<'exclude-unhealthy' | 'ignore' | 'require-healthy'>;
        readonly drain?: Maybe<boolean>;
        readonly paused?: Maybe<'keep' | 'withdraw'>;
        readonly after?: Maybe<number>;
        readonly flapDeaths?: Maybe<number>;
        readonly flapSeconds?: Maybe<number>;
        readonly engineAway?: Maybe<number>;
      }
    | undefined;
  readonly address?:
    | {
        readonly from?: Maybe<'published' | 'container' | 'either'>;
        readonly networks?: Maybe<string[]>;
        readonly families?: Maybe<'one' | 'both'>;
        readonly allowLabel?: Maybe<string[]>;
      }
    | undefined;
  readonly docker?:
    | {
        readonly socketPath?: Maybe<string | false>;
        readonly host?: Maybe<string>;
        readonly port?: Maybe<number>;
        readonly version?: Maybe<string>;
        readonly filter?: Maybe<string[]>;
        readonly tls?: (Certificates & { readonly verify?: Maybe<true> }) | undefined;
      }
    | undefined;
  readonly etcd?:
    | {
        readonly endpoints?: Maybe<string[]>;
        readonly host?: Maybe<string>;
        readonly port?: Maybe<number>;
        readonly prefix?: Maybe<string>;
        readonly ttl?: Maybe<number>;
        readonly tls?: Certificates | undefined;
        readonly username?: Maybe<string>;
        readonly password?: Maybe<string>;
        readonly passwordFile?: Maybe<string>;
        readonly meta?: Maybe<'attributes' | 'always' | 'never'>;
      }
    | undefined;
  readonly views?:
    | {
        readonly skydns?: Maybe<string>;
        readonly grpc?: Maybe<string>;
        readonly registrator?: Maybe<string>;
        readonly traefik?: Maybe<string>;
        readonly custom?: Maybe<(string | ProtocolTemplates)[]>;
      }
    | undefined;
  readonly host?:
    | {
        readonly ip?: Maybe<string>;
        readonly ip6?: Maybe<string>;
        readonly interface?: Maybe<string>;
        readonly cidr?: Maybe<string[]>;
        readonly id?: Maybe<string>;
        readonly realm?: Maybe<string>;
        readonly zone?: Maybe<string>;
        readonly attributes?: Maybe<string[]>;
        readonly realms?: Maybe<string[]>;
        readonly onExit?: Maybe<'keep' | 'remove' | 'drain'>;
        readonly drainSeconds?: Maybe<number>;
      }
    | undefined;
  readonly http?:
    | {
        readonly listen?: Maybe<string | number>;
        readonly relay?: Maybe<string | number>;
        readonly hosts?: Maybe<string[]>;
      }
    | undefined;
  readonly dns?:
    | {
        readonly listen?: Maybe<string | number>;
        readonly zone?: Maybe<string>;
        readonly ttl?: Maybe<number>;
        readonly rate?: Maybe<number>;
      }
    | undefined;
}

/** The same as a text with the protocol before it: `tcp: <key template> = <value template>`. */
interface ProtocolTemplates {
  readonly tcp?: string | undefined;
  readonly udp?: string | undefined;
  readonly sctp?: string | undefined;
}

interface Certificates {
  readonly ca?: Maybe<string>;
  readonly cert?: Maybe<string>;
  readonly key?: Maybe<string>;
}
