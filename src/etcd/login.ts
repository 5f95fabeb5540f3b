/**
 * The login of one member: a token, asked for when it is first needed and again once it is stale.
 *
 * After a refused login, the logins of the next seconds fail with the same refusal. For each login etcd computes a
 * hash that is slow on purpose, and a batch that is halved would make one login after the other. Calls that need a
 * token at the same moment share one login.
 */

const refusalMs = 4_000;

export class Login {
  readonly #authenticate: () => Promise<string>;
  readonly #isRefusal: (error: unknown) => boolean;
  #token: string | undefined;
  #isStale = true;
  #gotAt = 0;
  #pending: Promise<string> | undefined;
  #refusal: { readonly error: unknown; readonly at: number } | undefined;

  constructor(authenticate: () => Promise<string>, isRefusal: (error: unknown) => boolean) {
    this.#authenticate = authenticate;
    this.#isRefusal = isRefusal;
  }

  /** The last token, stale or not. */
  get lastToken(): string | undefined {
    return this.#token;
  }

  /** The age of the last token. */
  get ageMs(): number {
    return performance.now() - this.#gotAt;
  }

  token(): Promise<string> {
    if (!this.#isStale && this.#token !== undefined) return Promise.resolve(this.#token);
    this.#pending ??= this.#logIn().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  /** etcd does not accept this token any more. A newer token stays. */
  forget(token: string | undefined): void {
    if (token === this.#token) this.#isStale = true;
  }

  async #logIn(): Promise<string> {
    if (this.#refusal !== undefined && performance.now() - this.#refusal.at < refusalMs) throw this.#refusal.error;
    try {
      const token = await this.#authenticate();
      this.#token = token;
      this.#isStale = false;
      this.#gotAt = performance.now();
      this.#refusal = undefined;
      return token;
    } catch (error) {
      if (this.#isRefusal(error)) this.#refusal = { error, at: performance.now() };
      throw error;
    }
  }
}
