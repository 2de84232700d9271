import type { ReactNode } from 'react';
import { BROWSER_ZONE, chooseZone, useZone, ZONES } from './zone';

const nameOf = (zone: string): string => zone.replaceAll('_', ' ');

/** The choice of the time zone of the page. */
export const ZoneSelect = (): ReactNode => (
  <label className="zone">
    <span className="muted">Times in</span>
    <select value={useZone()} onChange={(event) => chooseZone(event.target.value)}>
      <option value={BROWSER_ZONE}>{nameOf(BROWSER_ZONE)} (this browser)</option>
      {ZONES.filter((zone) => zone !== BROWSER_ZONE).map((zone) => (
        <option key={zone} value={zone}>
          {nameOf(zone)}
        </option>
      ))}
    </select>
  </label>
);

/** Above each page but the one with the choice: in which zone its times are, if that is not the browser's. */
export function ZoneNote(): ReactNode {
  const zone = useZone();
  if (zone === BROWSER_ZONE) return null;
  return (
    <div className="visit-note" role="note" aria-label="Time zone">
      <span>Times are those of {nameOf(zone)}.</span>
      <button type="button" className="button small" onClick={() => chooseZone(BROWSER_ZONE)}>
        Use {nameOf(BROWSER_ZONE)}
      </button>
    </div>
  );
}
