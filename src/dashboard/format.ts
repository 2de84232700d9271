const number = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, {
  style: 'percent',
  maximumFractionDigits: 0,
  signDisplay: 'exceptZero',
});
const share = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const clockWithSeconds = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const dayAndYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const exact = new Intl.DateTimeFormat(undefined, {
  dateStyle: 'full',
  timeStyle: 'long',
});
const regions = new Intl.DisplayNames(undefined, { type: 'region' });

/** 12,345 */
export const formatNumber = (value: number): string => number.format(value);

/** +12% */
export const formatChange = (ratio: number): string => percent.format(ratio);

/** 3.4% */
export const formatShare = (ratio: number): string => share.format(ratio);

/** 14:05 */
export const formatClock = (at: Date): string => clock.format(at);

/** 14:05:09 */
export const formatSeconds = (at: Date): string => clockWithSeconds.format(at);

/** 3 Nov */
export const formatDay = (at: Date): string => day.format(at);

const formatDate = (at: Date): string => dayAndYear.format(at);

/** The whole instant in the reader's zone, with the zone's name. */
export const formatExact = (at: Date): string => exact.format(at);

/** 14:05 where it is today; 3 Nov 14:05; 3 Nov 2025 14:05. */
export function formatMoment(at: Date, now: number): string {
  const today = new Date(now);
  if (at.toDateString() === today.toDateString()) return formatClock(at);
  return `${at.getFullYear() === today.getFullYear() ? formatDay(at) : formatDate(at)} ${formatClock(at)}`;
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

/** Germany, of DE. */
export function formatCountry(code: string): string {
  try {
    return regions.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Chrome 130, of its name and version. */
export function formatSoftware(software: { name: string; version?: string | null } | null | undefined): string | null {
  if (!software) return null;
  // Names of their own, like NT, say nothing beside the number.
  const major = /^\d+/.exec(software.version ?? '')?.[0];
  const name = software.name.replace(/^Microsoft /, '');
  return major ? `${name} ${major}` : name;
}
