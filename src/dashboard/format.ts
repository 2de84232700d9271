import { zoneNow } from './zone';

const number = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, {
  style: 'percent',
  maximumFractionDigits: 0,
  signDisplay: 'exceptZero',
});
const short = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const share = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 });
const regions = new Intl.DisplayNames(undefined, { type: 'region' });

/** 12,345 */
export const formatNumber = (value: number): string => number.format(value);

/** The formats of times in a zone. */
const formatsIn = (timeZone: string) => ({
  clock: new Intl.DateTimeFormat(undefined, { timeZone, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }),
  clockWithSeconds: new Intl.DateTimeFormat(undefined, {
    timeZone,
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }),
  day: new Intl.DateTimeFormat(undefined, { timeZone, day: 'numeric', month: 'short' }),
  dayAndYear: new Intl.DateTimeFormat(undefined, { timeZone, day: 'numeric', month: 'short', year: 'numeric' }),
  exact: new Intl.DateTimeFormat(undefined, { timeZone, dateStyle: 'full', timeStyle: 'long' }),
  year: new Intl.DateTimeFormat('en', { timeZone, year: 'numeric' }),
});

let made: { zone: string; formats: ReturnType<typeof formatsIn> } | null = null;

/** The formats of the zone of the page. */
function formats(): ReturnType<typeof formatsIn> {
  const zone = zoneNow();
  if (made?.zone !== zone) made = { zone, formats: formatsIn(zone) };
  return made.formats;
}

/** 9,500; 12K; 1.5M (in the form of the browser's language) */
export const formatShort = (value: number): string => (value < 10_000 ? number : short).format(value);

/** +12%; ×15 for ten times as much and more. `ratio` is the change: 0.12, 14. */
export const formatChange = (ratio: number): string =>
  ratio < 9 ? percent.format(ratio) : `×${short.format(ratio + 1)}`;

/** 3.4% */
export const formatShare = (ratio: number): string => share.format(ratio);

/** 14:05 */
export const formatClock = (at: Date): string => formats().clock.format(at);

/** 14:05:09 */
export const formatSeconds = (at: Date): string => formats().clockWithSeconds.format(at);

/** 3 Nov */
export const formatDay = (at: Date): string => formats().day.format(at);

/** The full date and time, with the name of the zone. */
export const formatExact = (at: Date): string => formats().exact.format(at);

/** 14:05 today; 3 Nov 14:05 this year; else 3 Nov 2025 14:05. `now` is in milliseconds. */
export function formatMoment(at: Date, now: number): string {
  const { dayAndYear, day, year } = formats();
  const today = new Date(now);
  if (dayAndYear.format(at) === dayAndYear.format(today)) return formatClock(at);
  return `${(year.format(at) === year.format(today) ? day : dayAndYear).format(at)} ${formatClock(at)}`;
}

/** 45 s; 3 min 12 s; 1 h 04 min; 2 d 3 h. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** just now; 12 s ago; 5 min ago; 3 h ago; 2 days ago. */
export function formatAgo(at: Date, now: number): string {
  const seconds = Math.floor((now - at.getTime()) / 1_000);
  if (seconds < 3) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ago`;
  const days = Math.floor(seconds / 86_400);
  return days === 1 ? '1 day ago' : `${days} days ago`;
}

/** 1 session; 2 sessions. */
export const count = (amount: number, word: string): string =>
  `${formatNumber(amount)} ${word}${amount === 1 ? '' : 's'}`;

/** The country's name: Germany for DE. */
export function formatCountry(code: string): string {
  try {
    return regions.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Name and major version: Chrome 130. */
export function formatSoftware(software: { name: string; version?: string | null } | null | undefined): string | null {
  if (!software) return null;
  // A version without a leading number (NT 10.0) is left out.
  const major = /^\d+/.exec(software.version ?? '')?.[0];
  const name = software.name.replace(/^Microsoft /, '');
  return major ? `${name} ${major}` : name;
}
