import { useId, useState, type KeyboardEvent, type ReactNode } from 'react';
import { CopyButton } from './parts';

const CLIENTS: readonly { name: string; code: (server: string, key: string) => string }[] = [
  {
    name: 'Web page',
    code: (server, key) => `<script src="${server}/client.js"></script>
<script>
  const client = footsteps.createTracker({
    url: '${server}',
    key: '${key}',
    user: { identity: 'ada@example.com', name: 'Ada' },
    pageViews: true,
    errors: true,
  });

  client.track('usage', { source: 'pricing' });
</script>`,
  },
  {
    name: 'npm',
    code: (server, key) => `// In the folder of the server: npm pack
// In yours: npm install <folder of the server>/footsteps-*.tgz
import { createTracker } from 'footsteps/client';

const client = createTracker({ url: '${server}', key: '${key}' });

client.identify('ada@example.com', { name: 'Ada' });
client.track('usage', { source: 'pricing' });

// A program that ends sends first what waits.
await client.close();`,
  },
  {
    name: 'curl',
    code: (server, key) => `curl ${server}/graphql \\
  -H 'Authorization: Bearer ${key}' \\
  -H 'Content-Type: application/json' \\
  -d '{
  "query": "mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }",
  "variables": { "events": [
    { "type": "page view", "source": "/pricing",
      "user": { "identity": "ada@example.com", "name": "Ada" } }
  ] }
}'`,
  },
  {
    name: 'Exceptionless JS',
    code: (server, key) => `import { Exceptionless } from '@exceptionless/browser';

await Exceptionless.startup((config) => {
  config.apiKey = '${key}';
  config.serverUrl = '${server}';
  config.setUserIdentity('ada@example.com', 'Ada');
  config.useSessions();
});

await Exceptionless.submitFeatureUsage('pricing');`,
  },
  {
    name: '.NET',
    code: (server, key) => `using Exceptionless;

var client = ExceptionlessClient.Default;
client.Configuration.ApiKey = "${key}";
client.Configuration.ServerUrl = "${server}";
client.Configuration.SetUserIdentity("ada@example.com", "Ada");
client.Configuration.UseSessions();
client.Startup();

client.SubmitFeatureUsage("pricing");`,
  },
];

/** Code examples for each client. `apiKey` is a key that was just made; without one the examples say YOUR_KEY. */
export function Snippets({ apiKey }: { apiKey: string | null }): ReactNode {
  const [chosen, setChosen] = useState(0);
  const id = useId();
  const code = CLIENTS[chosen]!.code(window.location.origin, apiKey ?? 'YOUR_KEY');

  function onKeyDown(event: KeyboardEvent<HTMLElement>): void {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (chosen + step + CLIENTS.length) % CLIENTS.length;
    setChosen(next);
    event.currentTarget.querySelectorAll<HTMLElement>('[role=tab]')[next]?.focus();
  }

  return (
    <div className="snippets">
      <div role="tablist" aria-label="Client" className="segments" onKeyDown={onKeyDown}>
        {CLIENTS.map(({ name }, place) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`${id}-${place}`}
            aria-selected={place === chosen}
            aria-controls={id}
            tabIndex={place === chosen ? 0 : -1}
            onClick={() => setChosen(place)}
          >
            {name}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={id} aria-labelledby={`${id}-${chosen}`} className="code-box">
        <CopyButton text={code} />
        <pre tabIndex={0}>{code}</pre>
      </div>
    </div>
  );
}
