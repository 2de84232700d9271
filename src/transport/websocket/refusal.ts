import { GraphQLError, type ExecutionResult } from 'graphql';

/** Carries the errors of an operation that has no result. */
class Refusal extends Error {
  constructor(readonly errors: readonly GraphQLError[]) {
    super('The operation is refused.');
  }
}

/**
 * If a result has errors and no `data`, an iterator that throws them: graphql-ws then sends the message `error`, and nothing
 * after it. (It would send the result itself as `next` and `complete`, as if the operation had gone well.) Any other result
 * is returned as it is.
 */
export function refusalOf<Result extends ExecutionResult>(result: Result): Result | AsyncIterableIterator<never> {
  const { errors, data } = result;
  if (!errors || data !== undefined) return result;
  const refusal: AsyncIterableIterator<never> = {
    next: () => Promise.reject(new Refusal(errors)),
    return: () => Promise.resolve({ value: undefined, done: true }),
    [Symbol.asyncIterator]: () => refusal,
  };
  return refusal;
}

/** The errors that the message `error` holds. graphql-ws wraps what an iterator throws in one error: a refusal's are unwrapped. */
export function toldErrors(errors: readonly GraphQLError[]): readonly GraphQLError[] {
  const refusal = errors[0]?.originalError;
  return refusal instanceof Refusal ? refusal.errors : errors;
}
