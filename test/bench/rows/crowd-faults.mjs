// Rows P6 and P7: a slow line, and a Redis that was away.
import { figure, openCrowd, pause, ratio } from '../crowd.mjs';
import { forgetPeak, memoryOf, peakOf } from '../figures.mjs';
import { startProgram, startRedis } from '../processes.mjs';

const MEGABYTE = 1024 * 1024;

/**
 * Row P6: a viewer of 100,000 on a line of 1 MB a second, at 200 edges a second: one who takes messages as they are, and one who
 * takes them compressed, as browsers do.
 */
export const onASlowLine = async ({ postgres }) => [
  ...(await viewOnASlowLine(postgres, false)),
  ...(await viewOnASlowLine(postgres, true)),
];

async function viewOnASlowLine(postgres, inflates) {
  const PATIENCE = 60_000;
  const crowd = await openCrowd({ postgres }, { online: 100_000 });
  const { footsteps, steady } = crowd;
  const rest = memoryOf(footsteps.pid);
  const line = await startProgram('slow-line.mjs');
  const { url } = await line.ask({ target: Number(new URL(footsteps.url).port), rate: 1_000_000 });
  const viewers = await crowd.startViewers({ count: 1, url, inflates });
  await crowd.start({ edges: { kind: 'comers', perSecond: 40, each: 5 } });
  await pause(1_000);
  forgetPeak(footsteps.pid);
  await viewers.ask({ kind: 'subscribe' });
  const { all } = await viewers.ask({ kind: 'until', what: 'live', timeout: PATIENCE });
  const seen = await viewers.ask({ kind: 'figures' });
  await viewers.ask({ kind: 'reset' });
  await pause(30_000);
  const then = await viewers.ask({ kind: 'figures' });
  const peak = peakOf(footsteps.pid);
  await steady.ask({ kind: 'stop' });
  if (all) await crowd.compare(viewers);
  await line.stop();
  await crowd.close();
  const took = (all ? seen.live.last : PATIENCE) / 1_000;
  // Of those that came before it was live, one was needed.
  const alone = seen.bytes / Math.max(1, seen.snapshots) / 1_000_000;
  return [
    figure('P6', `a viewer of 100,000 ${inflates ? '(compressed) ' : ''}on a line of 1 MB/s, 200 edges/s: live after`, 's', took),
    figure('P6', 'a snapshot', 'MB', alone),
    ratio('P6', 'the same', 's', took, 'the line alone', alone, 2),
    figure('P6', 'snapshots in the 30 s after that', 'in all', then.snapshots, 0),
    figure('P6', 'the oldest that it showed in them', 'ms', then.stalest, 2_000),
    figure('P6', 'the server at most above rest', 'MB', peak - rest, 300),
  ];
}

/** Row P7: Redis is killed and comes back under 300 viewers of 20,000, while ten users come. */
export async function redisRestarts({ postgres }) {
  const VIEWERS = 300;
  const CAME = 10;
  const WINDOW = 15_000;
  const redis = await startRedis();
  const crowd = await openCrowd({ postgres }, { online: 20_000, env: { REDIS_URL: redis.url } });
  const { footsteps, steady } = crowd;
  const viewers = await crowd.startViewers({ count: VIEWERS, samples: 3, watchesAway: true });
  await crowd.start({ marks: { kind: 'comers', perSecond: 20 } });
  await viewers.ask({ kind: 'subscribe', over: 500 });
  const { all } = await viewers.ask({ kind: 'until', what: 'live', timeout: 120_000 });
  if (!all) throw new Error('Not all became live in time.');
  const begun = await viewers.ask({ kind: 'figures' });
  await pause(2_000);
  /** Bytes to all viewers in as long as the fault is looked at. */
  await viewers.ask({ kind: 'reset' });
  await pause(WINDOW / 3);
  const ordinary = (await viewers.ask({ kind: 'figures' })).bytes * 3;
  await viewers.ask({ kind: 'reset' });
  forgetPeak(footsteps.pid);
  const rest = memoryOf(footsteps.pid);
  const start = performance.now();
  await redis.kill();
  await crowd.send(Array.from({ length: CAME }, (_, at) => ({ user: { identity: `away-${10 + at}` } })));
  await pause(1_000);
  await redis.start();
  const { all: isRight } = await viewers.ask({ kind: 'until', what: 'toldOfAway', away: CAME, timeout: 60_000 });
  const took = (performance.now() - start) / 1_000;
  if (!isRight) throw new Error('Not all were told who came while Redis was away.');
  await pause(Math.max(0, WINDOW - took * 1_000));
  const seen = await viewers.ask({ kind: 'figures' });
  const peak = peakOf(footsteps.pid);
  await steady.ask({ kind: 'stop' });
  await crowd.compare(viewers);
  await crowd.close();
  await redis.kill();
  const more = Math.max(0, seen.bytes - ordinary);
  return [
    ratio('P7', `Redis restarts under ${VIEWERS} viewers of 20,000: more sent`, 'MB', more / MEGABYTE, 'a snapshot for each', begun.bytes / MEGABYTE, 0.1),
    figure('P7', 'all right after', 's', took),
    figure('P7', 'snapshots', 'a viewer', seen.snapshots / VIEWERS),
    figure('P7', 'the server at most above what it was', 'MB', peak - rest),
  ];
}
