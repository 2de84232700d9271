import { AppError } from '../../errors.js';
import type { Version } from './translate-body.js';
import { cut, isObject } from './translate-event.js';

/** The maximum number of characters. Longer texts are cut. */
const LONGEST = { email: 255, description: 10_000 };

/** The names of the fields in each version, for messages. */
const NAMES: Record<Version, { readonly email: string; readonly description: string }> = {
  1: { email: 'UserEmail', description: 'UserDescription' },
  2: { email: 'email_address', description: 'description' },
};

/**
 * A user's description of an event, from a body of version 2 (email_address, description, data) or version 1 (UserEmail,
 * UserDescription). Messages name the fields of `version`. Throws BAD_USER_INPUT if the body is not a JSON object, and UNPROCESSABLE if it has neither an e-mail
 * address nor a description, or if the address is invalid.
 */
export function descriptionOf(
  text: string,
  version: Version,
): {
  emailAddress: string | null;
  description: string | null;
  data: Record<string, unknown>;
} {
  const { email, description: words } = NAMES[version];
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // The body is no JSON; the check below refuses it.
  }
  if (!isObject(body))
    throw new AppError('BAD_USER_INPUT', `The body must be a JSON object with ${email} and ${words}.`);
  const emailAddress = cut(body['email_address'] ?? body['EmailAddress'] ?? body['UserEmail'], LONGEST.email);
  const description = cut(body['description'] ?? body['Description'] ?? body['UserDescription'], LONGEST.description);
  if (emailAddress === null && description === null) {
    throw new AppError('UNPROCESSABLE', `The body must have ${email}, ${words} or both.`, {
      field: words,
    });
  }
  if (emailAddress !== null && !/^[^\s@]+@[^\s@]+$/.test(emailAddress.trim())) {
    throw new AppError('UNPROCESSABLE', `${email} is not an e-mail address; write it like ada@example.com.`, {
      field: email,
    });
  }
  const data = body['data'] ?? body['Data'];
  return { emailAddress: emailAddress?.trim() ?? null, description, data: isObject(data) ? data : {} };
}
