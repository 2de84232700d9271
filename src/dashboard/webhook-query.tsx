import { useEffect, useId, useState, type ReactNode } from 'react';
import { useQuery } from 'urql';
import { explain } from './api';
import { WebhookProblemsDocument } from './generated/graphql';

/** Queries to begin with. */
const SAMPLES: readonly { name: string; query: string }[] = [
  {
    name: 'Sessions that start and end',
    query: `subscription {
  changes(filter: { kinds: [SESSION] }) {
    cursor
    at
    ... on SessionChange {
      kind
      session { id startedAt endedAt duration eventCount user { identity name } }
    }
  }
}`,
  },
  {
    name: 'Errors',
    query: `subscription {
  changes(filter: { kinds: [EVENT], events: { types: ["error"] } }) {
    cursor
    at
    ... on EventChange {
      event { id message source data session { id } user { identity name } }
    }
  }
}`,
  },
  {
    name: 'Who comes and goes',
    query: `subscription {
  changes(filter: { kinds: [PRESENCE] }) {
    cursor
    at
    ... on PresenceChange { identity status onlineSessions cause session { id } }
  }
}`,
  },
  {
    name: 'Everything',
    query: `subscription {
  changes {
    __typename
    cursor
    at
    ... on EventChange { event { id type message user { identity } } }
    ... on SessionChange { kind session { id user { identity } } mergedId }
    ... on PresenceChange { identity status onlineSessions cause }
    ... on ErasureChange { userId }
  }
}`,
  },
];

export const FIRST_QUERY = SAMPLES[0]!.query;

/** How long typing must rest before the query is checked. Milliseconds. */
const REST = 400;

/** The value as it was when it last rested. */
function useRested(value: string): string {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => setRested(value), REST);
    return () => window.clearTimeout(timer);
  }, [value]);
  return rested;
}

/** The variables in a text; undefined if it is not the JSON of an object. An empty text is {}. */
export function variablesIn(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text.trim() || '{}');
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The query of a webhook and its variables. The server checks them while the user types. */
export function QueryFields({
  query,
  variables,
  onChange,
}: {
  query: string;
  variables: string;
  onChange: (query: string, variables: string) => void;
}): ReactNode {
  const id = useId();
  const given = variablesIn(variables);
  const rested = useRested(JSON.stringify([query, given ?? null]));
  const [asked, askedVariables] = JSON.parse(rested) as [string, Record<string, unknown> | null];
  const [{ data, error, fetching }] = useQuery({
    query: WebhookProblemsDocument,
    variables: { query: asked, variables: askedVariables },
    requestPolicy: 'cache-first',
  });
  const isResting = rested === JSON.stringify([query, given ?? null]) && !fetching;
  const found = error ? [explain(error)] : (data?.webhookProblems ?? []);
  const problems = given ? found : ['The variables are not a JSON object.'];
  return (
    <>
      <div className="field">
        <label htmlFor={`${id}query`}>Query: one subscription of changes</label>
        <textarea
          id={`${id}query`}
          className="code"
          rows={12}
          spellCheck={false}
          required
          maxLength={16_384}
          value={query}
          aria-describedby={`${id}told`}
          onChange={(event) => onChange(event.target.value, variables)}
        />
        <div className="samples">
          <span className="muted">Samples:</span>
          {SAMPLES.map((sample) => (
            <button key={sample.name} type="button" className="chip" onClick={() => onChange(sample.query, variables)}>
              {sample.name}
            </button>
          ))}
        </div>
      </div>
      <div className="field">
        <label htmlFor={`${id}variables`}>Variables, as JSON</label>
        <textarea
          id={`${id}variables`}
          className="code"
          rows={2}
          spellCheck={false}
          placeholder="{}"
          value={variables}
          onChange={(event) => onChange(query, event.target.value)}
        />
      </div>
      <div id={`${id}told`} role="status" className="query-told">
        {isResting && problems.length === 0 && <p className="muted">The query is valid.</p>}
        {isResting &&
          problems.map((problem) => (
            <p key={problem} className="field-told">
              {problem}
            </p>
          ))}
        {!isResting && <p className="muted">Checking…</p>}
      </div>
    </>
  );
}
