import { useId, useRef, useState, type FormEvent, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { useAsked } from './answer';
import { explain } from './api';
import { useRights } from './credential';
import { ClientSettingsDocument, SetClientSettingsDocument } from './generated/graphql';
import { PlainTable } from './plain-table';
import { Card, Empty, Loading, Problem } from './parts';

interface Setting {
  key: string;
  value: string;
}

/** The form that sets a setting: a new one, or another value of one that exists. `given` is what the fields begin with. */
function SetSetting({ given }: { given: Setting }): ReactNode {
  const [{ data, error, fetching }, set] = useMutation(SetClientSettingsDocument);
  const [key, setKey] = useState(given.key);
  const [value, setValue] = useState(given.value);
  const first = useRef<HTMLInputElement>(null);
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    const result = await set({ settings: [{ key, value }] });
    if (!result.data) return;
    setKey('');
    setValue('');
    first.current?.focus();
  }

  return (
    <form className="form" onSubmit={(event) => void submit(event)}>
      <div className="form-grid">
        <div className="field">
          <label htmlFor={`${id}key`}>Setting</label>
          <input
            ref={first}
            id={`${id}key`}
            className="code"
            required
            maxLength={200}
            spellCheck={false}
            placeholder="@@log:*"
            value={key}
            onChange={(event) => setKey(event.target.value)}
          />
        </div>
        <div className="field">
          <label htmlFor={`${id}value`}>Value</label>
          <input
            id={`${id}value`}
            className="code"
            maxLength={2_000}
            autoFocus={given.key !== ''}
            spellCheck={false}
            placeholder="info"
            value={value}
            onChange={(event) => setValue(event.target.value)}
          />
        </div>
      </div>
      <div className="form-tools">
        <button type="submit" className="button primary" disabled={fetching}>
          Set
        </button>
        <span role="status" className={error ? 'field-told' : 'muted'}>
          {error ? explain(error) : data && key === '' && 'Set. Clients read it within two minutes.'}
        </span>
      </div>
    </form>
  );
}

/** The settings of Exceptionless clients: the list and, for a key with MANAGE, the form and the removal. */
export function ClientSettings(): ReactNode {
  const { manage } = useRights();
  const { data, error, retry } = useAsked({ query: ClientSettingsDocument });
  const [removed, remove] = useMutation(SetClientSettingsDocument);
  const [chosen, setChosen] = useState<Setting & { times: number }>({ key: '', value: '', times: 0 });
  const settings = data?.project.clientSettings;
  return (
    <Card
      title="Client settings"
      tools={settings && settings.version > 0 && <span className="muted">Version {settings.version}</span>}
    >
      <p className="card-note muted">
        Exceptionless clients read these from the server while they run, e.g. which log levels they send.
        {!manage && ' To change them, use a key with the scope MANAGE.'}
      </p>
      {error && !settings && <Problem error={error} retry={retry} />}
      {!settings && !error && <Loading lines={3} />}
      {settings?.entries.length === 0 && <Empty title="No settings" />}
      {settings && settings.entries.length > 0 && (
        <PlainTable label="Client settings" columns={['Setting', 'Value']} buttons={manage && 'Change'}>
          {settings.entries.map(({ key, value }) => (
            <tr key={key}>
              <td className="long-text">
                <code>{key}</code>
              </td>
              <td className="long-text">
                <code>{value}</code>
              </td>
              {manage && (
                <td className="row-tools">
                  <button
                    type="button"
                    className="button small"
                    aria-label={`Change ${key}`}
                    onClick={() => setChosen({ key, value, times: chosen.times + 1 })}
                  >
                    Change
                  </button>{' '}
                  <button
                    type="button"
                    className="button small"
                    aria-label={`Remove ${key}`}
                    disabled={removed.fetching}
                    onClick={() => void remove({ settings: [{ key, value: null }] })}
                  >
                    Remove
                  </button>
                </td>
              )}
            </tr>
          ))}
        </PlainTable>
      )}
      {removed.error && (
        <p className="card-note field-told" role="alert">
          {explain(removed.error)}
        </p>
      )}
      {manage && settings && <SetSetting key={chosen.times} given={chosen} />}
    </Card>
  );
}
