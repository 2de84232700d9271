import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createClient } from '../../src/client/client.js';
import {
  FootstepsProvider,
  useOnline,
  useOnlineCount,
  usePresence,
  useTrack,
  useUser,
} from '../../src/client/react.js';
import { eventually, post } from '../support/app.js';
import { bundle } from '../support/bundle.js';
import { createClientStage, type ClientStage, type Visitor } from '../support/client-stage.js';
import { temporaryFolder } from '../support/server.js';

/** The hooks, in React 18 and 19, in a real page. */

let stage: ClientStage;
beforeAll(async () => {
  stage = await createClientStage();
});
afterAll(() => stage.close());

const REACTS = [
  ['19', {}],
  ['18', { react: 'react-18', 'react-dom': 'react-dom-18' }],
] as const;

/** A list of 2,000 users, each in a row of its own that counts how often it was rendered. */
const APP = `
  import { createElement, StrictMode, memo, useState } from 'react';
  import { createRoot } from 'react-dom/client';
  import { flushSync } from 'react-dom';
  import { createClient } from 'footsteps/client';
  import { FootstepsProvider, useOnline, useOnlineCount, usePresence, useTrack, useUser } from 'footsteps/react';
  import { version } from 'react';

  const identities = Array.from({ length: 2000 }, (_, at) => 'user ' + at);
  globalThis.version = version;
  globalThis.rendered = {};
  globalThis.tracks = new Set();
  const Row = memo(({ identity }) => {
    rendered[identity] = (rendered[identity] ?? 0) + 1;
    return <li className={useOnline([identity]).has(identity) ? 'on' : 'off'}>{identity}</li>;
  });
  const Total = () => <b>{useOnlineCount() ?? 'unknown'}</b>;
  const Some = () => {
    const { users, status } = usePresence(['user 1', 'user 0']);
    return <i>{status + ' ' + users.map(({ identity, status }) => identity + ' ' + status).join()}</i>;
  };
  const Me = ({ user }) => {
    useUser(user);
    const track = useTrack();
    tracks.add(track);
    return <button onClick={() => track('click')}>Buy</button>;
  };
  const App = () => {
    const [user, setUser] = useState({ identity: 'ada', name: 'Ada' });
    globalThis.setUser = (next) => flushSync(() => setUser(next));
    return <><Me user={user} /><Total /><Some /><ul>{identities.map((identity) => <Row key={identity} identity={identity} />)}</ul></>;
  };
  const client = createClient({ ...globalThis.options, onError: ({ code }) => errors.push(code) });
  globalThis.errors = [];
  createRoot(document.getElementById('root')).render(
    <StrictMode><FootstepsProvider client={client}><App /></FootstepsProvider></StrictMode>);
`;

const come = (visitor: Visitor, type: string, identities: readonly string[]) =>
  post(
    stage.app.url,
    visitor.key,
    'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { rejected } }',
    { events: identities.map((identity) => ({ type, user: { identity } })) },
  );

test.each(REACTS)(
  'React %s, strict: only what changed is rendered again',
  async (major, alias) => {
    const code = await bundle(APP, alias);
    const visitor = await stage.visit({ make: 'createTracker' });
    const page = await visitor.context.newPage();
    const problems: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(error.message));
    await page.goto(stage.shop);
    const options = { url: stage.app.url, key: visitor.key, name: 'app', flushEvery: 0.05, useSessions: false };
    await page.evaluate(
      `globalThis.options = ${JSON.stringify(options)}; document.body.innerHTML = '<div id=root></div>'`,
    );
    await page.addScriptTag({ content: code, type: 'module' });
    await page.waitForFunction(`document.querySelector('i')?.textContent.startsWith('live')`);
    expect(await page.evaluate('version')).toMatch(new RegExp(`^${major}\\.`));
    expect(await page.textContent('i')).toBe('live user 0 OFFLINE,user 1 OFFLINE');
    expect(await page.textContent('b')).toBe('0');

    // 50 changes a second for some seconds, each of one user.
    await page.evaluate('globalThis.before = { ...rendered }');
    const changed = Array.from({ length: 100 }, (_, at) => `user ${at * 20}`);
    for (let from = 0; from < changed.length; from += 10) await come(visitor, 'log', changed.slice(from, from + 10));
    await page.waitForFunction(`document.querySelectorAll('.on').length === 100`);
    await page.waitForFunction(`document.querySelector('b').textContent === '100'`);
    const again: Record<string, number> = await page.evaluate(
      `Object.fromEntries(Object.entries(rendered).map(([who, times]) => [who, times - before[who]]).filter(([, times]) => times > 0))`,
    );
    expect(Object.keys(again).toSorted()).toEqual([...changed].toSorted());
    // Strict mode renders twice.
    expect([...new Set(Object.values(again))]).toEqual([2]);
    expect(await page.textContent('i')).toBe('live user 0 ONLINE,user 1 OFFLINE');

    // The user: named, then signed out.
    await page.click('button');
    await page.evaluate('setUser({ identity: "ada", name: "Ada" })');
    await page.evaluate('setUser(null)');
    await page.click('button');
    await eventually(async () => (await visitor.events()).filter(({ type }) => type === 'click').length === 2);
    const clicks = (await visitor.events()).filter(({ type }) => type === 'click' || type === 'sessionend');
    expect(
      clicks
        .filter(({ user }) => user === null || user.identity === 'ada')
        .map(({ type, user }) => [type, user?.identity]),
    ).toEqual([
      ['click', 'ada'],
      ['sessionend', 'ada'],
      ['click', undefined],
    ]);
    expect(await page.evaluate('tracks.size')).toBe(1);
    expect(await page.evaluate('errors')).toEqual([]);
    expect(problems).toEqual([]);
    await visitor.context.close();
  },
  60_000,
);

/** The same program for the server and for the page. */
const PAGE = `
  import { StrictMode } from 'react';
  import { createClient } from 'footsteps/client';
  import { FootstepsProvider, useOnline, useOnlineCount, usePresence, useTrack, useUser } from 'footsteps/react';
  globalThis.errors = [];
  const client = createClient({ ...globalThis.options, onError: ({ code }) => errors.push(code) });
  function App() {
    useUser({ identity: 'ada', name: 'Ada' });
    const track = useTrack();
    const { users, status } = usePresence(['ada', 'ben']);
    return <main>
      <b>{useOnlineCount() ?? 'unknown'}</b>
      <i>{status + ' ' + users.map(({ identity, status }) => identity + ' ' + status).join()}</i>
      <u>{[...useOnline(['ada', 'ben'])].join()}</u>
      <button onClick={() => track('click')}>Buy</button>
    </main>;
  }
  const app = <StrictMode><FootstepsProvider client={client}><App /></FootstepsProvider></StrictMode>;
`;
const ON_SERVER = `
  import { renderToString } from 'react-dom/server';
  ${PAGE}
  console.log(renderToString(app));
  // React keeps a channel open.
  void client.close().then(() => process.exit());
`;
const IN_PAGE = `
  import { hydrateRoot } from 'react-dom/client';
  import { version } from 'react';
  ${PAGE}
  globalThis.version = version;
  globalThis.before = document.querySelector('main');
  hydrateRoot(document.getElementById('root'), app, { onRecoverableError: (error) => errors.push(String(error)) });
`;

test.each(REACTS)(
  'React %s, strict: what a server has rendered comes to life without a warning',
  async (major, alias) => {
    const { folder, remove } = temporaryFolder();
    const file = path.join(folder, 'server.mjs');
    const options = { url: stage.app.url, name: 'app', flushEvery: 0.05, useSessions: {} };
    writeFileSync(
      file,
      `globalThis.options = { url: 'http://127.0.0.1:1', key: 'fs_none' };\n${await bundle(ON_SERVER, alias)}`,
    );
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file]);
    remove();
    expect(stderr).toBe('');
    expect(stdout).toContain('unknown');
    const visitor = await stage.visit({ make: 'createTracker' });
    const page = await visitor.context.newPage();
    const problems: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(error.message));
    await page.goto(stage.shop);
    await page.evaluate(
      `globalThis.options = ${JSON.stringify({ ...options, key: visitor.key })};
    document.body.innerHTML = ${JSON.stringify(`<div id="root">${stdout.trim()}</div>`)}`,
    );
    await page.addScriptTag({ content: await bundle(IN_PAGE, alias), type: 'module' });
    await page.waitForFunction(`document.querySelector('i').textContent === 'live ada ONLINE,ben OFFLINE'`);
    await page.waitForFunction(`document.querySelector('b').textContent === '1'`);
    expect(await page.textContent('u')).toBe('ada');
    expect(await page.evaluate('version')).toMatch(new RegExp(`^${major}\\.`));
    // It is the server's markup, and not another in its place.
    expect(await page.evaluate(`document.querySelector('main') === before`)).toBe(true);
    await page.click('button');
    await eventually(async () => (await visitor.events()).some(({ type }) => type === 'click'));
    expect((await visitor.events()).map(({ type, user }) => [type, user?.identity])).toEqual([['click', 'ada']]);
    expect([await page.evaluate('errors'), problems]).toEqual([[], []]);
    await visitor.context.close();
  },
  120_000,
);

test('a server renders it without a connection and without a warning', async () => {
  const warn = vi.spyOn(console, 'error');
  const client = createClient({ url: 'http://127.0.0.1:1', key: 'fs_none' });
  function App() {
    useUser({ identity: 'ada' });
    useTrack();
    const { users, status } = usePresence();
    return createElement('p', null, `${useOnline(['ada']).size} ${useOnlineCount()} ${users.length} ${status}`);
  }
  const html = renderToString(createElement(FootstepsProvider, { client }, createElement(App)));
  expect(html).toBe('<p>0 null 0 connecting</p>');
  expect(warn).not.toHaveBeenCalled();
  warn.mockRestore();
  expect(await client.close()).toBe(0);
});
