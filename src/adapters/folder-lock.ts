import { createHash } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import path from 'node:path';

export interface FolderLock {
  release(): Promise<void>;
}

/** A socket that does nothing but be there: the system takes it away with the process, however that ends. */
function occupy(address: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy()).unref();
    server.once('error', reject);
    server.listen(address, () => resolve(server));
  });
}

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
 * Takes a folder for this process, until it releases it or ends. Answers null where another process has it.
 * The folder is known by its inode, so that links and mounts of it are the same folder.
 */
export async function lockFolder(folder: string): Promise<FolderLock | null> {
  const { dev, ino } = await stat(folder);
  const name = `footsteps-${createHash('sha256').update(`${dev} ${ino}`).digest('hex').slice(0, 16)}`;
  const held: Server[] = [];
  const linux = process.platform === 'linux';
  try {
    // Of two that start at once Linux' abstract sockets let in exactly one, and they leave no file behind.
    if (linux) held.push(await occupy(`\0${name}`));
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE') return null;
    throw error;
  }
  // Containers have a network of their own each and may share the folder: they meet at a socket in it. Socket
  // paths are limited to about 100 characters, and this one is short wherever the folder is.
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
    // Some shared folders cannot hold sockets; there the first lock has to do.
    if (!linux || codeOf(error) === 'EADDRINUSE') {
      await release();
      if (codeOf(error) === 'EADDRINUSE') return null;
      throw error;
    }
  }
  return { release };
}
