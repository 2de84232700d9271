import type { ReactNode } from 'react';

const SHAPES = {
  overview: <path d="M4 19V11M10 19V5M16 19v-6M22 19H2" />,
  online: (
    <>
      <circle cx="12" cy="12" r="3" />
      <path d="M6.3 6.3a8 8 0 0 0 0 11.4M17.7 6.3a8 8 0 0 1 0 11.4" />
    </>
  ),
  sessions: <path d="M4 6h16M4 12h16M4 18h10" />,
  users: (
    <>
      <circle cx="9" cy="8" r="3.2" />
      <path d="M3 19c0-3.3 2.7-5.5 6-5.5s6 2.2 6 5.5M15.5 5.2a3.2 3.2 0 0 1 0 5.6M17.5 14c2.1.7 3.5 2.5 3.5 5" />
    </>
  ),
  events: <path d="M5 6h.01M9 6h11M5 12h.01M9 12h11M5 18h.01M9 18h7" />,
  project: (
    <>
      <path d="M4 7h9M17 7h3M4 17h3M11 17h9" />
      <circle cx="15" cy="7" r="2" />
      <circle cx="9" cy="17" r="2" />
    </>
  ),
  webhooks: <path d="M4 12h11M11 7l5 5-5 5M20 5v14" />,
  sun: (
    <>
      <circle cx="12" cy="12" r="4" />
      <path d="M12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4" />
    </>
  ),
  moon: <path d="M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z" />,
  leave: <path d="M14 4h5v16h-5M10 8l-4 4 4 4M6 12h10" />,
  search: (
    <>
      <circle cx="11" cy="11" r="6" />
      <path d="m20 20-4.5-4.5" />
    </>
  ),
  filter: <path d="M4 6h16M7 12h10M10 18h4" />,
  close: <path d="m6 6 12 12M18 6 6 18" />,
  up: <path d="m6 14 6-6 6 6" />,
  down: <path d="m6 10 6 6 6-6" />,
  right: <path d="m10 6 6 6-6 6" />,
  alert: (
    <>
      <circle cx="12" cy="12" r="9" />
      <path d="M12 7.5v5.5M12 16.5v.01" />
    </>
  ),
  check: <path d="m5 12.5 4.5 4.5L19 7.5" />,
  copy: (
    <>
      <rect x="9" y="9" width="11" height="11" rx="2" />
      <path d="M15 5V4H4v11h1" />
    </>
  ),
  clock: (
    <>
      <circle cx="12" cy="12" r="9" />
      <path d="M12 7v5l3 2" />
    </>
  ),
} satisfies Record<string, ReactNode>;

/** An icon beside a text. Screen readers skip it. */
export const Icon = ({ name, size = 18 }: { name: keyof typeof SHAPES; size?: number }): ReactNode => (
  <svg className="icon" viewBox="0 0 24 24" width={size} height={size} aria-hidden="true" focusable="false">
    {SHAPES[name]}
  </svg>
);

/** The logo of Footsteps: two footprints. */
export const Mark = (): ReactNode => (
  <svg className="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" />
    <ellipse cx="11.5" cy="17.5" rx="3.4" ry="5" />
    <ellipse cx="11.9" cy="25" rx="2.3" ry="2" />
    <ellipse cx="20.5" cy="10.5" rx="3.4" ry="5" />
    <ellipse cx="20.1" cy="18" rx="2.3" ry="2" />
  </svg>
);
