const DAY = 86_400_000;

export type NamedInterval = 'HOUR' | 'DAY' | 'WEEK' | 'MONTH';

/** The name of the interval that holds an instant, from what the calendar and the clock of a time zone show there. */
export function nameIn(timeZone: string, interval: NamedInterval): (at: number) => string {
  const format = new Intl.DateTimeFormat('en', {
    timeZone,
    year: 'numeric',
    month: 'numeric',
    ...(interval === 'MONTH' ? {} : { day: 'numeric' }),
    ...(interval === 'HOUR' ? { hour: 'numeric', timeZoneName: 'longOffset' } : {}),
  });
  if (interval !== 'WEEK') return (at) => format.format(at);
  return (at) => {
    const day = Date.parse(`${format.format(at)} UTC`) / DAY;
    // 5 January 1970 was a Monday.
    return String(Math.floor((day - 4) / 7));
  };
}
