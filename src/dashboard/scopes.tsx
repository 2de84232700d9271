import type { ReactNode } from 'react';
import { useQuery } from 'urql';
import { ScopesDocument, type Scope } from './generated/graphql';

/** A scope, with its description from the schema. */
export interface Offered {
  readonly scope: Scope;
  readonly note: string;
}

/** Every scope that the schema knows; empty until they are loaded. */
export function useScopes(): readonly Offered[] {
  const [{ data }] = useQuery({ query: ScopesDocument, requestPolicy: 'cache-first' });
  return (data?.scope?.enumValues ?? []).map(({ name, description }) => ({
    scope: name as Scope,
    note: description ?? '',
  }));
}

/** A checkbox for each of the `offered` scopes. */
export const ScopeChecks = ({
  offered,
  chosen,
  onChange,
}: {
  offered: readonly Offered[];
  chosen: readonly Scope[];
  onChange: (chosen: readonly Scope[]) => void;
}): ReactNode => (
  <fieldset className="field">
    <legend>Scopes</legend>
    <div className="checks">
      {offered.map(({ scope, note }) => (
        <label key={scope}>
          <input
            type="checkbox"
            checked={chosen.includes(scope)}
            onChange={(event) =>
              onChange(event.target.checked ? [...chosen, scope] : chosen.filter((one) => one !== scope))
            }
          />
          <span>
            {scope} <span className="muted">{note}</span>
          </span>
        </label>
      ))}
    </div>
  </fieldset>
);
