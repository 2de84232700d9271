import { useEffect, useEffectEvent, type ReactNode } from 'react';
import { useAnswer } from './answer';
import { useNow } from './clock';
import { formatClock, formatDay } from './format';
import { WhenOnlineDocument, type WhenOnlineQuery } from './generated/graphql';
import { Card, Loading, Problem } from './parts';
import type { PresentUser } from './presence';
import { midnight } from './zone';

const MINUTE = 60_000;
/** Today and the six days before it. */
const DAYS = 7;
/** Percent of a day: a shorter time online is drawn this wide, so that it can be seen. */
const NARROWEST = 0.4;

/** A time online, in milliseconds. */
interface Spell {
  readonly from: number;
  readonly to: number;
}

/** The times online from `from` until `now`, by the changes since then, the newest first, and the last one before. */
function spellsOf({ changes, before }: WhenOnlineQuery, from: number, now: number, isOnline: boolean): Spell[] {
  const [last] = before.nodes;
  const known = changes.nodes.toReversed();
  const isWhole = !changes.pageInfo.hasNextPage;
  const oldest = known[0]?.status;
  // What was before is not kept: the user left, so was online; or nothing has changed since.
  const wasOnline = isWhole && (last ? last.status === 'ONLINE' : oldest ? oldest === 'OFFLINE' : isOnline);
  let since = wasOnline ? from : null;
  const spells: Spell[] = [];
  for (const { at, status } of known) {
    const time = Date.parse(at);
    if (status === 'ONLINE') since ??= time;
    else if (since !== null) {
      spells.push({ from: since, to: time });
      since = null;
    }
  }
  if (since !== null) spells.push({ from: since, to: now });
  return spells;
}

function Day({ from, to, spells }: Spell & { spells: readonly Spell[] }): ReactNode {
  const share = (time: number): number => ((time - from) / (to - from)) * 100;
  const parts = spells
    .filter((spell) => spell.from < to && spell.to >= from)
    .map((spell) => ({ from: Math.max(spell.from, from), to: Math.min(spell.to, to) }));
  const told = parts.map((part) => `${formatClock(new Date(part.from))}–${formatClock(new Date(part.to))}`).join(', ');
  return (
    <li>
      <span className="online-day">{formatDay(new Date(from))}</span>
      <span className="online-track" role="img" aria-label={told ? `Online ${told}` : 'Not online'} title={told}>
        {parts.map((part) => (
          <span
            key={part.from}
            className="online-spell"
            style={{
              left: `${Math.min(share(part.from), 100 - NARROWEST)}%`,
              width: `${Math.max(share(part.to) - share(part.from), NARROWEST)}%`,
            }}
          />
        ))}
      </span>
    </li>
  );
}

/** When the user was online in the last week, a line for each day. It is read again when the user's presence changes. */
export function OnlineLine({ identity, presence }: { identity: string; presence: PresentUser | null }): ReactNode {
  const now = useNow(MINUTE) + MINUTE;
  const from = midnight(now, DAYS - 1);
  const variables = { identity, from: new Date(from).toISOString() };
  const { data, error, again, retry } = useAnswer(WhenOnlineDocument, variables, JSON.stringify(variables));
  const isOnline = presence?.status === 'ONLINE';
  const read = useEffectEvent(again);
  // Of a user who is only seen again, nothing changes here.
  const told = presence && `${presence.status} ${presence.since}`;
  useEffect(() => {
    if (told !== null) read();
  }, [told]);
  const spells = data ? spellsOf(data, from, now, isOnline) : [];
  return (
    <Card
      title="When online"
      className="when-online"
      tools={
        <span className="muted">
          {data?.changes.pageInfo.hasNextPage ? 'The latest 100 changes' : `The last ${DAYS} days`}
        </span>
      }
    >
      {error && !data && <Problem error={error} retry={retry} byItself={false} />}
      {!data && !error && <Loading lines={DAYS} />}
      {data && (
        <>
          <ul className="online-days">
            {Array.from({ length: DAYS }, (_, day) => (
              <Day key={day} from={midnight(now, day)} to={midnight(now, day - 1)} spells={spells} />
            ))}
          </ul>
          <p className="online-hours" aria-hidden="true">
            <span>0</span>
            <span>6</span>
            <span>12</span>
            <span>18</span>
            <span>24</span>
          </p>
        </>
      )}
    </Card>
  );
}
