// npm run bench -- churn [minutes]: viewers and users come and go for so long; what the server holds stays the same.
import { figure, openCrowd, pause, ratio } from '../crowd.mjs';

const MEGABYTE = 1024 * 1024;
/** So often what the server holds is asked for. Milliseconds. */
const SAMPLE = 10_000;
/** Users who leave or come back, five a request: the same ones, so that what is remembered of users is full from the beginning. */
const TURNS = { kind: 'turns', perSecond: 10, each: 5, of: 2_000 };
/** A busy machine may need longer for a round: what is measured is memory. Milliseconds. */
const PATIENCE = 300_000;
/** Groups of viewers: of everybody, and of some. Each comes, stays for a while and goes, at times of its own. */
const GROUPS = [
  { count: 100, stays: 3_000 },
  { count: 100, stays: 7_000, narrow: { each: 50, of: 2_000 } },
  { count: 50, stays: 11_000, comesBack: true },
];

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

export async function churn({ postgres, minutes }) {
  const crowd = await openCrowd(
    { postgres },
    { online: 2_000, nodeArguments: ['--expose-gc', '--import', new URL('../collect-garbage.mjs', import.meta.url).href] },
  );
  const { footsteps, steady } = crowd;
  await crowd.start({ turns: TURNS, beats: { kind: 'beats', perSecond: 20 } });
  const end = performance.now() + minutes * 60_000;
  let came = 0;

  async function comeAndGo({ stays, comesBack = false, ...options }) {
    const viewers = await crowd.startViewers({ ...options, lazy: true });
    for (let isFirst = true; performance.now() < end; isFirst = false) {
      await viewers.ask({ kind: 'subscribe', over: 500, resumption: comesBack && crowd.resumes && !isFirst });
      const { all } = await viewers.ask({ kind: 'until', what: 'whole', timeout: PATIENCE });
      if (!all) throw new Error('Not all became live in time.');
      came += options.count;
      await pause(stays);
      await viewers.ask({ kind: 'drop' });
      await viewers.ask({ kind: 'forget' });
      await pause(500);
    }
  }

  const samples = [];
  async function sample() {
    while (performance.now() < end) {
      await pause(Math.min(SAMPLE, Math.max(1, end - performance.now())));
      samples.push(await footsteps.ask('memory'));
      const { held, resident } = samples.at(-1);
      console.error(`  ${Math.round(held / MEGABYTE)} MB held, ${Math.round(resident / MEGABYTE)} MB resident, ${came} viewers came`);
    }
  }

  await Promise.all([sample(), ...GROUPS.map(comeAndGo)]);
  const { turns } = await steady.ask({ kind: 'stop' });
  await crowd.close();
  if (turns.failed > 0) console.error(`  ${turns.failed} requests failed: ${turns.reason}`);
  const third = Math.floor(samples.length / 3);
  const of = (from, what) => median(samples.slice(from * third, (from + 1) * third).map((one) => one[what])) / MEGABYTE;
  return [
    ratio('churn', `held after ${minutes} minutes of coming and going`, 'MB', of(2, 'held'), 'a third of it before', of(1, 'held'), 1.1),
    ratio('churn', 'resident', 'MB', of(2, 'resident'), 'a third of it before', of(1, 'resident'), 1.1),
    figure('churn', 'viewers that came and went', 'in all', came),
  ];
}
