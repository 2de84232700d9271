import { AppError } from '../../errors.js';
import { cut, isObject } from './translate-event.js';

/** Longer ones are cut. */
const LONGEST = { email: 255, description: 10_000 };

/**
 * What a user says of an event, from a body of either version: email_address, description and data, or
 * UserEmail and UserDescription. BAD_USER_INPUT where it is no JSON object; UNPROCESSABLE where it says
 * nothing, or the address is none.
 */
export function descriptionOf(text: string): {
  emailAddress: string | null;
  description: string | null;
  data: Record<string, unknown>;
} {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Told below.
  }
  if (!isObject(body))
    throw new AppError('BAD_USER_INPUT', 'The body is a JSON object with email_address and description.');
  const emailAddress = cut(body['email_address'] ?? body['EmailAddress'] ?? body['UserEmail'], LONGEST.email);
  const description = cut(body['description'] ?? body['Description'] ?? body['UserDescription'], LONGEST.description);
  if (emailAddress === null && description === null) {
    throw new AppError('UNPROCESSABLE', 'Give email_address, description, or both.', { field: 'description' });
  }
  if (emailAddress !== null && !/^[^\s@]+@[^\s@]+$/.test(emailAddress.trim())) {
    throw new AppError('UNPROCESSABLE', 'email_address is no e-mail address.', { field: 'email_address' });
  }
  const data = body['data'] ?? body['Data'];
  // Names that begin with @ are the event's own.
  const free = isObject(data) ? Object.entries(data).filter(([name]) => !name.startsWith('@')) : [];
  return { emailAddress: emailAddress?.trim() ?? null, description, data: Object.fromEntries(free) };
}
