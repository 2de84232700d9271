/**
 * The paths of the dashboard, in the order of the menu. A `path` that ends with `/*` stands for all paths below it.
 * An entry with `icon` is in the menu; `within` names the menu entry that another path belongs to. `needs` is the right
 * without which a page has nothing to show. The build writes the paths into a file (vite.config.ts), and the server answers
 * each of them with the dashboard. app.tsx has the page of each path.
 */
export const PLACES = [
  { path: '/', name: 'Overview', icon: 'overview', needs: 'read' },
  { path: '/online', name: 'Online', icon: 'online', needs: 'presence' },
  { path: '/sessions', name: 'Sessions', icon: 'sessions', needs: 'read' },
  { path: '/sessions/*', name: 'Session', within: '/sessions', needs: 'read' },
  { path: '/users', name: 'Users', icon: 'users', needs: 'read' },
  { path: '/users/*', name: 'User', within: '/users', needs: 'read' },
  { path: '/events', name: 'Events', icon: 'events', needs: 'read' },
  { path: '/events/*', name: 'Event', within: '/events', needs: 'read' },
  { path: '/webhooks', name: 'Webhooks', icon: 'webhooks', needs: 'manage' },
  { path: '/webhooks/*', name: 'Webhook', within: '/webhooks', needs: 'manage' },
  { path: '/project', name: 'Project', icon: 'project', needs: null },
] as const;

export type Place = (typeof PLACES)[number];

/** The scope that gives each right. */
export const SCOPE_OF = { read: 'READ', presence: 'PRESENCE or READ', manage: 'MANAGE' } as const;

/** The entry of a path; undefined if there is none. */
export const placeAt = (location: string): Place | undefined =>
  PLACES.find(({ path }) => (path.endsWith('/*') ? location.startsWith(path.slice(0, -1)) : location === path));
