import { useEffect, useMemo, useRef, type ReactNode } from 'react';
import { Provider as ClientProvider, useQuery } from 'urql';
import { Link, Route, Switch, useLocation } from 'wouter';
import { ApiProvider, createApi } from './api';
import { signOut, useCredential } from './credential';
import { SignInDocument } from './generated/graphql';
import { Icon, Mark } from './icons';
import { useReconnecting } from './live';
import { OnlinePage } from './online-page';
import { OverviewPage } from './overview-page';
import { Empty } from './parts';
import { useTail } from './paths';
import { ProjectPage } from './project-page';
import { SessionPage } from './session-page';
import { SessionsPage } from './sessions-page';
import { SignInPage } from './sign-in-page';
import { toggleTheme, useTheme } from './theme';
import { UserPage } from './user-page';

const PLACES = [
  { path: '/', name: 'Overview', icon: 'overview' },
  { path: '/online', name: 'Online', icon: 'online' },
  { path: '/sessions', name: 'Sessions', icon: 'sessions' },
  { path: '/project', name: 'Project', icon: 'project' },
] as const;

function isAt(location: string, path: string): boolean {
  if (path === '/') return location === '/';
  if (path === '/sessions' && location.startsWith('/users/')) return true;
  return location === path || location.startsWith(`${path}/`);
}

/** What the browser calls the page. */
function titleOf(location: string): string {
  if (location.startsWith('/sessions/')) return 'Session';
  if (location.startsWith('/users/')) return 'User';
  return PLACES.find(({ path }) => path === location)?.name ?? 'Nothing here';
}

/** Switches between light and dark. */
function ThemeButton(): ReactNode {
  const theme = useTheme();
  const other = theme === 'dark' ? 'light' : 'dark';
  return (
    <button type="button" className="icon-button" onClick={toggleTheme} aria-label={`Use the ${other} theme`}>
      <Icon name={theme === 'dark' ? 'sun' : 'moon'} />
    </button>
  );
}

function Navigation(): ReactNode {
  const [location] = useLocation();
  const [{ data }] = useQuery({ query: SignInDocument, requestPolicy: 'cache-first' });
  return (
    <header className="rail">
      <Link href="/" className="brand" aria-label="Footsteps, to the overview">
        <Mark />
        <span className="brand-name">Footsteps</span>
      </Link>
      <nav aria-label="Pages">
        {PLACES.map(({ path, name, icon }) => (
          <Link key={path} href={path} aria-current={isAt(location, path) ? 'page' : undefined}>
            <Icon name={icon} size={19} />
            <span>{name}</span>
          </Link>
        ))}
      </nav>
      <div className="rail-foot">
        <span className="project-name" title={data?.project.name}>
          {data?.project.name}
        </span>
        <ThemeButton />
        <button type="button" className="icon-button" onClick={() => signOut()} aria-label="Sign out">
          <Icon name="leave" />
        </button>
      </div>
    </header>
  );
}

/** Says that the live parts are cut off, for as long as they are. */
const Reconnecting = (): ReactNode => (
  <div className="reconnecting" role="status">
    {useReconnecting() && (
      <span>
        <span className="spinner" aria-hidden="true" /> Connection lost. Reconnecting…
      </span>
    )}
  </div>
);

/** The part of the page that changes; it takes the focus when another page is opened, so that reading begins there. */
function Pages(): ReactNode {
  const main = useRef<HTMLElement>(null);
  const [location] = useLocation();
  const before = useRef(location);
  const tail = useTail();
  // Going back finds a page where it was left; a new one begins at its top.
  const wentBack = useRef(false);
  useEffect(() => {
    const onBack = (): void => {
      wentBack.current = true;
    };
    window.addEventListener('popstate', onBack);
    return () => window.removeEventListener('popstate', onBack);
  }, []);
  useEffect(() => {
    document.title = `${titleOf(location)} – Footsteps`;
  }, [location]);
  useEffect(() => {
    if (before.current === location) return;
    before.current = location;
    main.current?.focus({ preventScroll: true });
    if (!wentBack.current) window.scrollTo(0, 0);
    wentBack.current = false;
  }, [location]);
  return (
    <main ref={main} id="main" tabIndex={-1}>
      <Switch>
        <Route path="/">
          <OverviewPage />
        </Route>
        <Route path="/online">
          <OnlinePage />
        </Route>
        <Route path="/sessions">
          <SessionsPage />
        </Route>
        <Route path="/sessions/*">
          <SessionPage key={tail} id={tail} />
        </Route>
        <Route path="/users/*">
          <UserPage key={tail} identity={tail} />
        </Route>
        <Route path="/project">
          <ProjectPage />
        </Route>
        <Route>
          <Empty title="There is no such page">
            <Link href="/">To the overview</Link>
          </Empty>
        </Route>
      </Switch>
    </main>
  );
}

/** The whole dashboard: the door, and the pages behind it. */
export function App(): ReactNode {
  const { secret } = useCredential();
  const api = useMemo(() => (secret ? createApi(secret) : null), [secret]);
  if (!api) return <SignInPage />;
  return (
    <ApiProvider value={api}>
      <ClientProvider value={api.client}>
        <a className="skip" href="#main">
          Skip to the content
        </a>
        <div className="frame">
          <Navigation />
          <Pages />
        </div>
        <Reconnecting />
      </ClientProvider>
    </ApiProvider>
  );
}
