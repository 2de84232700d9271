import { useEffect, useMemo, useRef, type ReactNode } from 'react';
import { Provider as ClientProvider, useQuery } from 'urql';
import { Link, Redirect, Route, Switch, useLocation } from 'wouter';
import { ApiProvider, createApi } from './api';
import { signOut, useCredential, useRights, type Rights } from './credential';
import { ProjectNameDocument } from './generated/graphql';
import { Icon, Mark } from './icons';
import { Jump } from './jump';
import { lazyPage } from './lazy-page';
import { useReconnecting } from './live';
import { OnlinePage } from './online-page';
import { OverviewPage } from './overview-page';
import { Empty } from './parts';
import { useTail } from './paths';
import { placeAt, PLACES, SCOPE_OF, type Place } from './places';
import { SessionPage } from './session-page';
import { SessionsPage } from './sessions-page';
import { Shortcuts } from './shortcuts';
import { SignInPage } from './sign-in-page';
import { toggleTheme, useTheme } from './theme';
import { usePlaceTitle } from './title';
import { UserPage } from './user-page';
import { Validity } from './validity';
import { VisitNote } from './visit-note';
import { useZone } from './zone';
import { ZoneNote } from './zone-select';

/** The pages that do not open first are loaded when they are opened. */
const ProjectPage = lazyPage(async () => (await import('./project-page')).ProjectPage);
const WebhooksPage = lazyPage(async () => (await import('./webhooks-page')).WebhooksPage);
const WebhookPage = lazyPage(async () => (await import('./webhook-page')).WebhookPage);
const UsersPage = lazyPage(async () => (await import('./users-page')).UsersPage);
const EventsPage = lazyPage(async () => (await import('./events-page')).EventsPage);
const EventPage = lazyPage(async () => (await import('./event-page')).EventPage);
const OperatorPage = lazyPage(async () => (await import('./operator-page')).OperatorPage);

/** The page of each path. `tail` is the part of the address that matches `*`. */
const PAGES: Record<Place['path'], (tail: string) => ReactNode> = {
  '/': () => <OverviewPage />,
  '/online': () => <OnlinePage />,
  '/sessions': () => <SessionsPage />,
  '/sessions/*': (tail) => <SessionPage key={tail} id={tail} />,
  '/users': () => <UsersPage />,
  '/users/*': (tail) => <UserPage key={tail} identity={tail} />,
  '/events': () => <EventsPage />,
  '/events/*': (tail) => <EventPage key={tail} id={tail} />,
  '/webhooks': () => <WebhooksPage />,
  '/webhooks/*': (tail) => <WebhookPage key={tail} id={tail} />,
  '/project': () => <ProjectPage />,
};

/** The path of the menu entry that `location` belongs to. */
function menuPathAt(location: string): string | undefined {
  const place = placeAt(location);
  return place && ('within' in place ? place.within : place.path);
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

const SignOutButton = (): ReactNode => (
  <button type="button" className="icon-button" onClick={() => signOut()} aria-label="Sign out">
    <Icon name="leave" />
  </button>
);

/** Whether a key with these rights has something to see at a place. */
const isOpen = ({ needs }: Place, rights: Rights): boolean => needs === null || rights[needs];

function Navigation({ onJump }: { onJump: () => void }): ReactNode {
  const [location] = useLocation();
  const rights = useRights();
  const { visit } = useCredential();
  const [{ data }] = useQuery({ query: ProjectNameDocument, requestPolicy: 'cache-first' });
  return (
    <header className="rail">
      <Link href="/" className="brand" aria-label="Footsteps: go to overview">
        <Mark />
        <span className="brand-name">Footsteps</span>
      </Link>
      <button type="button" className="jump-button" onClick={onJump} aria-keyshortcuts="Control+K">
        <Icon name="search" size={16} />
        <span>Jump to…</span> <kbd>Ctrl K</kbd>
      </button>
      <nav aria-label="Pages">
        {PLACES.filter((place) => 'icon' in place)
          .filter((place) => isOpen(place, rights))
          .map(({ path, name, icon }) => (
            <Link key={path} href={path} aria-current={menuPathAt(location) === path ? 'page' : undefined}>
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
        {!visit && <SignOutButton />}
      </div>
    </header>
  );
}

/** Shows a message while a live stream is lost. */
const Reconnecting = (): ReactNode => (
  <div className="reconnecting" role="status">
    {useReconnecting() && (
      <span>
        <span className="spinner" aria-hidden="true" /> Connection lost. Reconnecting…
      </span>
    )}
  </div>
);

/** The content beside the menu. It takes the focus when another page opens, so that screen readers begin there. */
function Pages(): ReactNode {
  const main = useRef<HTMLElement>(null);
  const [location] = useLocation();
  const before = useRef(location);
  const tail = useTail();
  // "Back" keeps the browser's scroll position. A new page begins at the top.
  const wentBack = useRef(false);
  useEffect(() => {
    const onBack = (): void => {
      wentBack.current = true;
    };
    window.addEventListener('popstate', onBack);
    return () => window.removeEventListener('popstate', onBack);
  }, []);
  const place = placeAt(location);
  const rights = useRights();
  usePlaceTitle(location, place?.name ?? 'Not found');
  useEffect(() => {
    if (before.current === location) return;
    before.current = location;
    // Unless something on the page has taken the focus already.
    if (!main.current?.contains(document.activeElement)) main.current?.focus({ preventScroll: true });
    if (!wentBack.current) window.scrollTo(0, 0);
    wentBack.current = false;
  }, [location]);
  const first = PLACES.find((one) => 'icon' in one && isOpen(one, rights))!;
  if (place?.path === '/' && !isOpen(place, rights)) return <Redirect to={first.path} replace />;
  if (place?.needs && !isOpen(place, rights)) {
    return (
      <main ref={main} id="main" tabIndex={-1}>
        <Empty title="This key cannot open this page" isPage>
          It needs the scope {SCOPE_OF[place.needs]}. <Link href={first.path}>Go to {first.name.toLowerCase()}</Link>
        </Empty>
      </main>
    );
  }
  return (
    <main ref={main} id="main" tabIndex={-1}>
      <VisitNote />
      {place && place.path !== '/' && <ZoneNote />}
      <Switch>
        {PLACES.map(({ path }) => (
          <Route key={path} path={path}>
            {PAGES[path](tail)}
          </Route>
        ))}
        <Route>
          <Empty title="Page not found" isPage>
            <Link href="/">Go to overview</Link>
          </Empty>
        </Route>
      </Switch>
    </main>
  );
}

/** What the operator sees: the projects of the installation, and no menu of a project. */
const OperatorFrame = (): ReactNode => (
  <div className="frame">
    <header className="rail">
      <span className="brand">
        <Mark />
        <span className="brand-name">Footsteps</span>
      </span>
      <div className="rail-foot">
        <span className="project-name">Operator</span>
        <ThemeButton />
        <SignOutButton />
      </div>
    </header>
    <main id="main" tabIndex={-1}>
      <OperatorPage />
    </main>
  </div>
);

/** The whole dashboard: the sign-in page, and the pages for a signed-in user. */
export function App(): ReactNode {
  const { secret, rights } = useCredential();
  const api = useMemo(() => (secret ? createApi(secret) : null), [secret]);
  const jump = useRef<HTMLDialogElement>(null);
  // All times are shown in the zone: another one begins the page anew.
  const zone = useZone();
  if (!api) return <SignInPage />;
  return (
    <ApiProvider value={api}>
      <ClientProvider value={api.client}>
        <a className="skip" href="#main">
          Skip to content
        </a>
        {rights?.operator ? (
          <OperatorFrame />
        ) : (
          <>
            <div className="frame">
              <Navigation onJump={() => jump.current?.showModal()} />
              <Pages key={zone} />
            </div>
            <Reconnecting />
            <Validity />
            <Jump dialog={jump} />
            <Shortcuts onJump={() => jump.current?.showModal()} />
          </>
        )}
      </ClientProvider>
    </ApiProvider>
  );
}
