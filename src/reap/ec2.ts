/**
 * The EC2 instances that run, by AWS's own SDK. Only this file imports the SDK.
 *
 * The SDK is larger than all other packages together, so it is optional and an operator installs it. It has its own
 * configuration: credentials, profile, region and endpoint come from its environment. If one account or region does
 * not answer, the whole query fails, because half an answer would name living hosts as dead.
 */
import { DiscoverError, messageOf } from '../errors.ts';

export interface Ec2Query {
  /** Access key and secret key of each account; empty for the account of the environment. */
  readonly accounts: readonly (readonly [string, string])[];
  /** Empty for the region of the environment. */
  readonly regions: readonly string[];
  readonly filters: Readonly<Record<string, string | readonly string[]>>;
}

const name = '@aws-sdk/client-ec2';

export async function livingInstances({ accounts, regions, filters }: Ec2Query): Promise<Set<string>> {
  const { EC2Client, paginateDescribeInstances } = await load();
  const Filters = Object.entries(filters).map(([Name, value]) => ({ Name, Values: [value].flat() }));
  const living = new Set<string>();
  for (const account of accounts.length > 0 ? accounts : [undefined]) {
    for (const region of regions.length > 0 ? regions : [undefined]) {
      const client = new EC2Client({
        ...(region !== undefined && { region }),
        ...(account && { credentials: { accessKeyId: account[0], secretAccessKey: account[1] } }),
        // Without these limits the SDK waits for an answer without end.
        requestHandler: { connectionTimeout: 5_000, requestTimeout: 30_000 },
      });
      try {
        for await (const { Reservations = [] } of paginateDescribeInstances({ client, pageSize: 1000 }, { Filters })) {
          const instances = Reservations.flatMap(({ Instances = [] }) => Instances);
          for (const { InstanceId } of instances) if (InstanceId !== undefined) living.add(InstanceId);
        }
      } catch (error) {
        const where = region === undefined ? 'EC2' : `EC2 in ${region}`;
        throw new DiscoverError('EC2_UNAVAILABLE', `${where}: ${messageOf(error)}`, { cause: error });
      } finally {
        client.destroy();
      }
    }
  }
  return living;
}

async function load() {
  try {
    return await import('@aws-sdk/client-ec2');
  } catch (error) {
    const advice = `--source ec2 needs the package ${name}: npm install ${name}, with --global where discover is`;
    throw new DiscoverError('CONFIG_INVALID', `${advice} (${messageOf(error)})`, { cause: error });
  }
}
