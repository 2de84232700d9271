import { expect, test } from 'vitest';
import { descriptionOf } from '../../src/transport/collector/description.js';

test.each([
  [1, 'UserEmail', 'UserDescription'],
  [2, 'email_address', 'description'],
] as const)('messages about a description of version %i name its own fields', (version, email, description) => {
  const refusal = (body: unknown): unknown => {
    try {
      return descriptionOf(JSON.stringify(body), version);
    } catch (error) {
      return error;
    }
  };
  expect(refusal('text')).toMatchObject({
    code: 'BAD_USER_INPUT',
    message: `The body must be a JSON object with ${email} and ${description}.`,
  });
  expect(refusal({})).toMatchObject({
    message: `The body must have ${email}, ${description} or both.`,
    details: { field: description },
  });
  expect(refusal({ [email]: 'nobody' })).toMatchObject({
    message: `${email} is not an e-mail address; write it like ada@example.com.`,
    details: { field: email },
  });
  expect(refusal({ [email]: 'ada@example.com', [description]: 'I pressed save' })).toEqual({
    emailAddress: 'ada@example.com',
    description: 'I pressed save',
    data: {},
  });
});
