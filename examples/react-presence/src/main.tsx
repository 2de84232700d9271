import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { createClient } from 'footsteps/client';
import { FootstepsProvider, useOnlineCount, usePresence, useTrack, useUser } from 'footsteps/react';

const client = createClient({ url: 'http://127.0.0.1:4000', key: 'fs_…', pageViews: true });

function WhoIsOnline() {
  const { users, status } = usePresence();
  const count = useOnlineCount();
  const track = useTrack();
  if (status === 'connecting') return <p>Looking…</p>;
  return (
    <section style={{ opacity: status === 'stale' ? 0.5 : 1 }}>
      <h1>{count} online</h1>
      <ul>
        {users.map(({ identity, name }) => (
          <li key={identity}>
            {name ?? identity} <button onClick={() => track('wave', { data: { to: identity } })}>Wave</button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function App() {
  // Who is signed in; null: nobody.
  useUser({ identity: 'ada@example.com', name: 'Ada' });
  return <WhoIsOnline />;
}

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <FootstepsProvider client={client}>
      <App />
    </FootstepsProvider>
  </StrictMode>,
);
