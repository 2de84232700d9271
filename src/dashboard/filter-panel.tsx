import type { ReactNode } from 'react';
import { changeAddress } from './address';
import { Choice, DataInput, Input, MomentInput, WordLists } from './filter-fields';
import type { SessionRowFragment } from './generated/graphql';
import { conflictsOf, END_REASONS, LISTS } from './session-filter';

/** The panel with all conditions of a session filter. */
export function FilterPanel({
  params,
  rows,
  withStart = true,
}: {
  params: URLSearchParams;
  rows: readonly SessionRowFragment[];
  /** False: the page has a range of its own for the starts of sessions. */
  withStart?: boolean;
}): ReactNode {
  const get = (name: string): string => params.get(name) ?? '';
  const reasons = params.getAll('end');
  const conflicts = conflictsOf(params);
  return (
    <div className="filter-panel card">
      <WordLists lists={LISTS} params={params} rows={rows} />
      {withStart && (
        <>
          <MomentInput name="Started from" value={get('from')} onChange={(from) => changeAddress({ from })} />
          <MomentInput
            name="Started before"
            value={get('to')}
            told={conflicts.get('to')}
            onChange={(to) => changeAddress({ to })}
          />
        </>
      )}
      <MomentInput
        name="Active from"
        value={get('activeFrom')}
        onChange={(activeFrom) => changeAddress({ activeFrom })}
      />
      <MomentInput
        name="Active until"
        value={get('activeTo')}
        told={conflicts.get('activeTo')}
        onChange={(activeTo) => changeAddress({ activeTo })}
      />
      <Input
        name="Minimum duration (seconds)"
        type="number"
        min={0}
        value={get('min')}
        onChange={(event) => changeAddress({ min: event.target.value })}
      />
      <Input
        name="Maximum duration (seconds)"
        told={conflicts.get('max')}
        type="number"
        min={0}
        value={get('max')}
        onChange={(event) => changeAddress({ max: event.target.value })}
      />
      <Choice
        name="Errors"
        value={get('errors')}
        options={[
          ['', 'With or without errors'],
          ['yes', 'With errors'],
          ['no', 'Without errors'],
        ]}
        onChange={(errors) => changeAddress({ errors })}
      />
      <Choice
        name="Bots"
        value={get('bot')}
        options={[
          ['', 'People and bots'],
          ['no', 'People only'],
          ['yes', 'Bots only'],
        ]}
        onChange={(bot) => changeAddress({ bot })}
      />
      <fieldset className="field">
        <legend>End reason</legend>
        <div className="checks">
          {Object.entries(END_REASONS).map(([key, name]) => (
            <label key={key}>
              <input
                type="checkbox"
                checked={reasons.includes(key)}
                onChange={(event) =>
                  changeAddress({
                    end: event.target.checked ? [...reasons, key] : reasons.filter((one) => one !== key),
                  })
                }
              />
              {name}
            </label>
          ))}
        </div>
      </fieldset>
      <DataInput value={get('data')} onChange={(data) => changeAddress({ data })} />
      <DataInput
        name="Data of the user (JSON)"
        value={get('userData')}
        onChange={(userData) => changeAddress({ userData })}
      />
    </div>
  );
}
