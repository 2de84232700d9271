// Rows P3 and P4: many edges to many viewers, of everybody and of some.
import { figure, openCrowd, pause, ratio } from '../crowd.mjs';
import { edgesOf, processorOf } from '../figures.mjs';

const PER_SECOND = 2_000;
/** Edges a request, as of a gateway that speaks for its clients. */
const EACH = 50;
/** Where a machine does not carry so many, it is asked for fewer: the figures say how many there were. */
const STREAM = { perSecond: PER_SECOND / EACH, each: EACH, most: 8 };
const PATIENCE = 60_000;

/** Row P3: 2,000 edges a second, each to 1,000 viewers. */
export async function toEverybody({ postgres, seconds }) {
  const VIEWERS = 1_000;
  const crowd = await openCrowd({ postgres }, { online: 1_000 });
  const { footsteps, steady } = crowd;
  const viewers = await crowd.startViewers({ count: VIEWERS, samples: 20 });
  // Those who come stay for five seconds; from then on as many leave as come.
  await crowd.start({ edges: { kind: 'comers', stay: 5 * STREAM.perSecond, ...STREAM, each: EACH / 2 } });
  await viewers.ask({ kind: 'subscribe', over: 1_000 });
  await viewers.ask({ kind: 'until', what: 'whole', timeout: PATIENCE });
  await pause(7_000);
  await viewers.ask({ kind: 'reset' });
  await steady.ask({ kind: 'reset' });
  const [edges, processor, start] = [await edgesOf(footsteps), processorOf(footsteps.pid), performance.now()];
  await pause(3 * seconds * 1_000);
  const seen = await viewers.ask({ kind: 'figures' });
  const told = (await edgesOf(footsteps)) - edges;
  const took = (performance.now() - start) / 1_000;
  const used = processorOf(footsteps.pid) - processor;
  const { edges: sent } = await steady.ask({ kind: 'stop' });
  await crowd.compare(viewers);
  await crowd.close();
  if (sent.failed > 0) console.error(`  ${sent.failed} requests failed: ${sent.reason}`);
  return [
    figure('P3', `an edge of ${PER_SECOND}/s to ${VIEWERS} viewers, from its request on, p99`, 'ms', seen.ages.p99, 500),
    figure('P3', 'the same, p50', 'ms', seen.ages.p50),
    figure('P3', 'the request itself, p99', 'ms', sent.p99),
    figure('P3', 'edges published', 'a second', told / took),
    figure('P3', "the server's processor", 'of a core', used / took),
    figure('P3', 'messages to each viewer', 'a second', seen.frames / VIEWERS / took),
  ];
}

/** Half of what viewers added before edges were handed to those alone whom they concern (3.19 times an edge without viewers). */
const MOST_BESIDE = 2.1;

/** Row P4: 2,000 viewers of 50 users each, of 20,000 of whom 2,000 a second come or leave. */
export async function toSome({ postgres, seconds }) {
  const VIEWERS = 2_000;
  const USERS = 20_000;
  const crowd = await openCrowd({ postgres }, { online: USERS });
  const { footsteps, steady } = crowd;
  await crowd.start({ turns: { kind: 'turns', of: USERS, ...STREAM } });
  /** Microseconds of the server's processor for each edge, and how many there were. */
  async function measure() {
    const [before, processor, start] = [await edgesOf(footsteps), processorOf(footsteps.pid), performance.now()];
    await pause(2 * seconds * 1_000);
    const edges = (await edgesOf(footsteps)) - before;
    const took = (performance.now() - start) / 1_000;
    return { each: ((processorOf(footsteps.pid) - processor) * 1_000_000) / edges, edges, perSecond: edges / took };
  }
  await pause(8_000);
  const before = await measure();
  const viewers = await crowd.startViewers({ count: VIEWERS, samples: 20, narrow: { each: 50, of: USERS } });
  await viewers.ask({ kind: 'subscribe', over: 3_000 });
  const { all } = await viewers.ask({ kind: 'until', what: 'whole', timeout: PATIENCE });
  if (!all) throw new Error('Not all became live in time.');
  await pause(2_000);
  await viewers.ask({ kind: 'reset' });
  const during = await measure();
  const seen = await viewers.ask({ kind: 'figures' });
  await viewers.ask({ kind: 'drop' });
  await pause(2_000);
  const after = await measure();
  const { turns } = await steady.ask({ kind: 'stop' });
  await crowd.close();
  if (turns.failed > 0) console.error(`  ${turns.failed} requests failed: ${turns.reason}`);
  const alone = (before.each + after.each) / 2;
  return [
    ratio('P4', `an edge of ${PER_SECOND}/s with ${VIEWERS} viewers of 50 users each`, 'µs', during.each, 'without viewers', alone, MOST_BESIDE),
    figure('P4', 'of it for the viewers', 'µs', during.each - alone),
    figure('P4', 'edges published', 'a second', during.perSecond),
    figure('P4', 'messages sent', 'an edge', seen.frames / during.edges),
    figure('P4', 'the request itself, p99', 'ms', turns.p99),
  ];
}
