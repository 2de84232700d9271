// Rows P1, P2 and P5: many begin to watch at once, or come back.
import { figure, openCrowd, pause, ratio } from '../crowd.mjs';
import { forgetPeak, longestWait, memoryOf, peakOf, processorOf, statementsOf } from '../figures.mjs';

const MEGABYTE = 1024 * 1024;
/** Nobody waits longer than this for any row. Milliseconds. */
const PATIENCE = 120_000;
/** A mark comes so often while viewers begin: who has been sent one is live. A second. */
const MARKS = { kind: 'comers', perSecond: 20 };

/** What was not reached by then is shown as the time that was waited. */
const secondsOf = ({ live }, count) => (live.count === count ? live.last : PATIENCE) / 1_000;

/** Row P1: 100 viewers of 100,000 who are online begin at the same moment. */
export async function beginAtOnce({ postgres }) {
  const VIEWERS = 100;
  const crowd = await openCrowd({ postgres }, { online: 100_000 });
  const { footsteps, steady } = crowd;
  const rest = memoryOf(footsteps.pid);
  const viewers = await crowd.startViewers({ count: VIEWERS, samples: 2 });
  await crowd.start({ marks: MARKS });
  await pause(1_000);
  forgetPeak(footsteps.pid);
  await longestWait(footsteps);
  await viewers.ask({ kind: 'subscribe' });
  await viewers.ask({ kind: 'until', what: 'live', timeout: PATIENCE });
  const { wait, beside } = await longestWait(footsteps);
  const peak = peakOf(footsteps.pid);
  const seen = await viewers.ask({ kind: 'figures' });
  await steady.ask({ kind: 'stop' });
  await crowd.compare(viewers);
  await crowd.close();
  const work = `${VIEWERS} viewers of 100,000 begin at once`;
  return [
    figure('P1', `${work}: all live after`, 's', secondsOf(seen, VIEWERS), 5),
    figure('P1', 'the server at most above rest', 'MB', peak - rest, 300),
    figure('P1', 'its loop held up at most', 'ms', wait, 100),
    figure('P1', 'an idle process beside it', 'ms', beside),
    figure('P1', 'sent to each viewer', 'MB', seen.bytes / VIEWERS / MEGABYTE),
    figure('P1', 'snapshots sent (one each is needed)', 'a viewer', seen.snapshots / VIEWERS),
  ];
}

/** Row P2: 1,000 viewers of 20,000 come within two seconds, beside heartbeats and another project's events. */
export async function comeWithinTwoSeconds({ postgres }) {
  const VIEWERS = 1_000;
  const crowd = await openCrowd({ postgres }, { online: 20_000 });
  const { footsteps, steady } = crowd;
  const { key: other } = await footsteps.createProject();
  const viewers = await crowd.startViewers({ count: VIEWERS, samples: 3, lazy: true });
  const beside = { beats: { kind: 'beats', perSecond: 20 }, others: { kind: 'events', perSecond: 20, key: other } };
  await crowd.start({ marks: MARKS, ...beside });
  await pause(4_000);
  const alone = await steady.ask({ kind: 'figures' });
  await steady.ask({ kind: 'reset' });
  await longestWait(footsteps);
  const processor = processorOf(footsteps.pid);
  await viewers.ask({ kind: 'subscribe', over: 2_000 });
  await viewers.ask({ kind: 'until', what: 'live', timeout: PATIENCE });
  const { wait, beside: idle } = await longestWait(footsteps);
  const used = processorOf(footsteps.pid) - processor;
  // Those who still wait are counted too.
  const meanwhile = await steady.ask({ kind: 'stop' });
  const seen = await viewers.ask({ kind: 'figures' });
  await crowd.compare(viewers);
  await crowd.close();
  for (const [name, { failed, reason }] of Object.entries(meanwhile)) if (failed > 0) console.error(`  ${failed} of ${name} failed: ${reason}`);
  if (seen.refused > 0) console.error(`  viewers refused ${seen.refused} times: ${seen.reason}`);
  return [
    figure('P2', `${VIEWERS} viewers of 20,000 come in 2 s: all live after`, 's', secondsOf(seen, VIEWERS), 15),
    figure('P2', 'heartbeats meanwhile, p99', 'ms', meanwhile.beats.p99, 500),
    figure('P2', "another project's events meanwhile, p99", 'ms', meanwhile.others.p99, 250),
    ratio('P2', 'heartbeats meanwhile, p50', 'ms', meanwhile.beats.p50, 'before', alone.beats.p50),
    ratio('P2', "another project's events meanwhile, p50", 'ms', meanwhile.others.p50, 'before', alone.others.p50),
    figure('P2', "the server's processor", 's', used),
    figure('P2', 'its loop held up at most', 'ms', wait),
    figure('P2', 'an idle process beside it', 'ms', idle),
    figure('P2', 'sent to each viewer', 'MB', seen.bytes / VIEWERS / MEGABYTE),
  ];
}

/** Row P5: 1,000 viewers of 100,000 lose their connections and come back after 100 changes, beside 100 who begin. */
export async function comeBack({ postgres }) {
  const VIEWERS = 1_000;
  const BEGINNERS = 100;
  const CHANGES = 100;
  const crowd = await openCrowd({ postgres }, { online: 100_000 });
  if (!crowd.resumes) {
    await crowd.close();
    console.error('  row P5: this server knows no cursors.');
    return [];
  }
  const { footsteps, steady } = crowd;
  await crowd.start({ marks: MARKS });
  async function begin(viewers, options) {
    const statements = await statementsOf(footsteps);
    await viewers.ask({ kind: 'reset' });
    await viewers.ask({ kind: 'subscribe', over: 500, ...options });
    const { all } = await viewers.ask({ kind: 'until', what: 'live', timeout: PATIENCE });
    if (!all) throw new Error('Not all became live in time.');
    return { ...(await viewers.ask({ kind: 'figures' })), statements: (await statementsOf(footsteps)) - statements };
  }
  // The cursor that the thousand begin with is the first's: a snapshot each would be 10 GB.
  const beginners = await crowd.startViewers({ count: BEGINNERS });
  const begun = await begin(beginners, {});
  await beginners.ask({ kind: 'drop' });
  const viewers = await crowd.startViewers({ count: VIEWERS });
  await begin(viewers, { cursor: begun.cursor });
  await viewers.ask({ kind: 'drop' });
  await crowd.send(Array.from({ length: CHANGES }, (_, at) => ({ user: { identity: `changed-${at}` } })));
  const back = await begin(viewers, { resumption: true });
  await steady.ask({ kind: 'stop' });
  await crowd.close();
  if (back.snapshots > 0) throw new Error(`${back.snapshots} came back to a snapshot.`);
  const beside = `${BEGINNERS} who begin`;
  return [
    ratio('P5', `${VIEWERS} viewers come back after ${CHANGES} changes: each`, 'kB', back.bytes / VIEWERS / 1_024, beside, begun.bytes / BEGINNERS / 1_024, 0.01),
    figure('P5', 'all live after', 's', back.live.last / 1_000),
    ratio('P5', 'all live after, for each of them', 'ms', back.live.last / VIEWERS, beside, begun.live.last / BEGINNERS),
    figure('P5', 'statements of presence meanwhile', 'in all', back.statements),
  ];
}
