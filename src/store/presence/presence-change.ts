/**
 * SQL by which a change of presence gets its place among the changes of its user: a number that grows with every change, of the
 * millisecond and 12 bits that number the changes of one millisecond. The id is a UUIDv7 of the place. So a change is never
 * before an earlier change of the same user, also if the clock goes back; and two changes of one instant have an order. It is
 * never in a minute that is settled (settle-minutes) either.
 */

/** The place in the id of a change. */
const placeIn = (id: string): string =>
  `('x' || translate(left(${id}::text, 13), '-', '') || substr(${id}::text, 16, 3))::bit(60)::bigint`;

/**
 * The place of the next change of the user `k` (project_id, id), at `now` (milliseconds since the epoch) or later. The user
 * must be locked.
 */
export const nextPlace = (k: string, now: string): string => `greatest(${now}::bigint << 12, (
  SELECT ${placeIn('c.id')} + 1 FROM presence_changes c
  WHERE c.project_id = ${k}.project_id AND c.user_id = ${k}.id ORDER BY c.id DESC LIMIT 1), (
  SELECT (extract(epoch FROM asked_until) * 1000)::bigint << 12 FROM presence_settling WHERE id))`;

/** The instant of the place `x.place`. */
export const CHANGE_AT = `(timestamptz 'epoch' + (x.place >> 12) * interval '1 millisecond')`;

/** A new id of the place `x.place`. */
export const CHANGE_ID = `overlay(overlay(gen_random_uuid()::text
  PLACING overlay(lpad(to_hex(x.place >> 12), 12, '0') PLACING '-' FROM 9 FOR 0) || '-7' FROM 1 FOR 15)
  PLACING lpad(to_hex(x.place & 4095), 3, '0') FROM 16 FOR 3)::uuid`;

/** Whether the change `c` is one of the status: the user came or left. */
export const CAME_OR_LEFT = '(c.online_sessions > 0) <> (c.previous_sessions > 0)';

/**
 * Changes `c` with which a spell (the time from coming to leaving) ended, and the class of the spell: the power of two of its
 * seconds. The index presence_changes_spell has these expressions.
 */
export const ENDS_SPELL = 'c.online_sessions = 0 AND c.previous_sessions > 0';
export const SPELL_CLASS = `(floor(ln(greatest(date_part('epoch', c.at - c.previous_since), 1)) / ln(2::float8))::integer)`;
/** The longest class has 2^30 seconds: 34 years. */
export const LONGEST_SPELL = 30;
