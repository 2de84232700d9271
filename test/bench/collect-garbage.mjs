// Loaded into a server of the bench (node --expose-gc --import): says what it holds once all garbage is gone.
process.on('message', () => {
  // The second takes what the first has only found to be unreachable.
  globalThis.gc();
  globalThis.gc();
  const { heapUsed, external, rss } = process.memoryUsage();
  process.send({ held: heapUsed + external, resident: rss });
});
// Being asked is no reason to live on.
process.channel.unref();
