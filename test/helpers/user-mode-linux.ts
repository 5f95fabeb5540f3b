/**
 * A command on a Linux of its own, for what the kernel of this machine does not have: ipvlan.
 *
 * `linux.uml` of Debian's package `user-mode-linux` is a kernel that runs as a process. Its root is that of the process, under
 * a layer in memory: the command finds the programs and the files of this machine and writes to none of them. It has one
 * processor, and is slower than this machine by far.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';

/** The first process: the last one of the script takes its place, or the kernel would look for modules outside the layer. */
const init = (
  directory: string,
  environment: Readonly<Record<string, string>>,
  command: readonly string[],
): string => `#!/bin/sh
set -e
export ${Object.entries(environment)
  .map(([name, value]) => `${name}=${quoted(value)}`)
  .join(' ')}
modules=/usr/lib/uml/modules
mount -t tmpfs tmpfs /mnt
busybox insmod $modules/*/kernel/fs/overlayfs/overlay.ko
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay /mnt/root -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
for directory in dev/shm run; do mount -t tmpfs tmpfs $directory; done
ln -s $modules lib/modules
ln -sf "$(command -v busybox)" sbin/modprobe
exec chroot . /bin/sh -c ${quoted(`modprobe ipvlan && cd ${quoted(directory)} && ${command.map(quoted).join(' ')}; busybox poweroff -f`)}
`;

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * What runs the command in this directory on that kernel, which ends with it. Its status is not that of the command. Its `/tmp` has
 * to be `tmp`, where nothing of other tests lies: to them, the processes of this machine are gone.
 */
export function onUserModeLinux(
  tmp: string,
  directory: string,
  environment: Readonly<Record<string, string>>,
  command: readonly string[],
): readonly [program: string, ...args: string[]] {
  writeFileSync(path.join(tmp, 'init'), init(directory, environment, command), { mode: 0o755 });
  const root = ['rootfstype=hostfs', 'rootflags=/', 'ro', 'init=/tmp/init'];
  // Only the first console, where the command writes to, is shown.
  return [
    '/usr/bin/linux.uml',
    'mem=4G',
    'seccomp=auto',
    'uml_dir=/tmp',
    ...root,
    'con=null',
    'con0=null,fd:1',
    'quiet',
  ];
}
