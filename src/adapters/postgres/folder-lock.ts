import { createHash } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import path from 'node:path';

export interface FolderLock {
  release(): Promise<void>;
}

/**
 * Listens on a socket that does nothing. The operating system removes the socket when the process ends, however it
 * ends.
 */
function occupy(address: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy()).unref();
    server.once('error', reject);
    server.listen(address, () => resolve(server));
  });
}

/** Whether a process listens at the address. */
function isAnswered(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address, () => {
      socket.destroy();
      resolve(true);
    }).on('error', (error: NodeJS.ErrnoException) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(error.code ?? '')));
  });
}

const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException).code;

/**
 * Locks a folder for this process, until the process releases it or ends. Returns null if another process holds the
 * lock. The folder is identified by its device and inode, so links and mounts of it are the same folder.
 */
export async function lockFolder(folder: string): Promise<FolderLock | null> {
  const { dev, ino } = await stat(folder);
  const name = `footsteps-${createHash('sha256').update(`${dev} ${ino}`).digest('hex').slice(0, 16)}`;
  const held: Server[] = [];
  const linux = process.platform === 'linux';
  try {
    // On Linux: of two processes that start at once, exactly one gets the abstract socket. Such a socket leaves no file
    // behind.
    if (linux) held.push(await occupy(`\0${name}`));
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE') return null;
    throw error;
  }
  // Containers have separate networks and may share the folder, so there is also a socket inside the folder. The path
  // of a socket may have only about 100 characters. This path is short wherever the folder is.
  const directory = linux ? await open(folder) : null;
  const address = directory ? `/proc/self/fd/${directory.fd}/server.sock` : path.join('/tmp', `${name}.sock`);
  const release = async (): Promise<void> => {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
    await directory?.close();
  };
  if (await isAnswered(address)) {
    await release();
    return null;
  }
  await rm(address, { force: true });
  try {
    held.push(await occupy(address));
  } catch (error) {
    // Some shared folders cannot contain sockets. Then the first lock must be enough.
    if (!linux || codeOf(error) === 'EADDRINUSE') {
      await release();
      if (codeOf(error) === 'EADDRINUSE') return null;
      throw error;
    }
  }
  return { release };
}
