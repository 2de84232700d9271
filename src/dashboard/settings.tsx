import { useId, useState, type ComponentProps, type FormEvent, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { explain } from './api';
import { useRights } from './credential';
import { textOf } from './form';
import { UpdateProjectDocument, type SettingsFragment } from './generated/graphql';
import { Card } from './parts';

/** A form field with a label and a note. */
function Field({
  name,
  note,
  children,
}: {
  name: string;
  note?: string;
  children: (id: string) => ReactNode;
}): ReactNode {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      {children(id)}
      {note && <p className="field-note muted">{note}</p>}
    </div>
  );
}

function NumberField({ label, note, ...input }: { label: string; note: string } & ComponentProps<'input'>): ReactNode {
  return (
    <Field name={label} note={note}>
      {(id) => <input id={id} type="number" {...input} />}
    </Field>
  );
}

/** The result of a save: "Saved.", or the error. */
function Told({ saved, problem }: { saved: boolean; problem: string | null }): ReactNode {
  return (
    <span role="status" className={problem ? 'field-told' : 'muted'}>
      {problem ?? (saved ? 'Saved.' : '')}
    </span>
  );
}

/** The end of a form: the button, with the result of the last save. A key without MANAGE is told what it would need. */
function Save({
  isChanged,
  busy,
  saved,
  problem,
}: {
  isChanged: boolean;
  busy: boolean;
  saved: boolean;
  problem: string | null;
}): ReactNode {
  const { manage } = useRights();
  if (!manage) return <p className="form-tools muted">To change this, use a key with the scope MANAGE.</p>;
  return (
    <div className="form-tools">
      <button type="submit" className="button primary" disabled={busy || !isChanged}>
        {busy ? 'Saving…' : 'Save'}
      </button>
      <Told saved={saved && !isChanged} problem={problem} />
    </div>
  );
}

/** The form of the project's name and settings. Without MANAGE it only shows them. */
export function Settings({ project }: { project: SettingsFragment }): ReactNode {
  const [{ data, error, fetching }, update] = useMutation(UpdateProjectDocument);
  const [isChanged, setChanged] = useState(false);
  const { manage } = useRights();
  const { settings } = project;

  async function save(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string): string => textOf(form, name);
    const numberOrNull = (name: string): number | null => (text(name) === '' ? null : Number(text(name)));
    const result = await update({
      name: text('name'),
      settings: {
        inactivityTimeout: Number(text('inactivityTimeout')),
        presenceTimeout: Number(text('presenceTimeout')),
        retentionDays: numberOrNull('retentionDays'),
        changeRetentionDays: Number(text('changeRetentionDays')),
        rateLimit: numberOrNull('rateLimit'),
        sessionStart: text('sessionStart') === 'RESUME' ? 'RESUME' : 'RESTART',
        bots: text('bots') === 'DROP' ? 'DROP' : 'MARK',
        storeIpAddress: form.get('storeIpAddress') !== null,
      },
    });
    if (result.data) setChanged(false);
  }

  return (
    <Card title="Settings">
      <form className="form" onSubmit={(event) => void save(event)} onChange={() => setChanged(true)}>
        <fieldset className="settings-fields" disabled={!manage}>
          <div className="form-grid">
            <Field name="Name">
              {(id) => <input id={id} name="name" required maxLength={100} defaultValue={project.name} />}
            </Field>
            <NumberField
              label="Inactivity timeout (seconds)"
              note="A session is closed after this long without activity."
              name="inactivityTimeout"
              required
              min={10}
              max={86_400}
              defaultValue={settings.inactivityTimeout}
            />
            <NumberField
              label="Presence timeout (seconds)"
              note="A user is shown as offline after this long without a heartbeat."
              name="presenceTimeout"
              required
              min={2}
              max={86_400}
              defaultValue={settings.presenceTimeout}
            />
            <NumberField
              label="Retention (days)"
              note="Leave empty to keep everything."
              name="retentionDays"
              min={1}
              max={36_500}
              placeholder="Everything is kept"
              defaultValue={settings.retentionDays ?? ''}
            />
            <NumberField
              label="Feed of changes (days)"
              note="So far back can subscribers and webhooks catch up."
              name="changeRetentionDays"
              required
              min={1}
              max={30}
              defaultValue={settings.changeRetentionDays}
            />
            <NumberField
              label="Rate limit (points a minute)"
              note="For each key. Leave empty for the server’s limit."
              name="rateLimit"
              min={60}
              max={100_000_000}
              placeholder="The server’s limit"
              defaultValue={settings.rateLimit ?? ''}
            />
            <Field name="Session event during an open session">
              {(id) => (
                <select id={id} name="sessionStart" defaultValue={settings.sessionStart}>
                  <option value="RESTART">Starts a new session</option>
                  <option value="RESUME">Continues the open session</option>
                </select>
              )}
            </Field>
            <Field name="Bots">
              {(id) => (
                <select id={id} name="bots" defaultValue={settings.bots}>
                  <option value="MARK">Keep and mark as bots</option>
                  <option value="DROP">Reject their events</option>
                </select>
              )}
            </Field>
          </div>
          <label className="check">
            <input type="checkbox" name="storeIpAddress" defaultChecked={settings.storeIpAddress} /> Store IP addresses
          </label>
        </fieldset>
        <Save
          isChanged={isChanged}
          busy={fetching}
          saved={data !== undefined}
          problem={error ? explain(error) : null}
        />
      </form>
    </Card>
  );
}

/** The form of the origins whose pages may use the project's keys. Without MANAGE it only shows them. */
export function Origins({ allowed }: { allowed: readonly string[] }): ReactNode {
  const [{ data, error, fetching }, update] = useMutation(UpdateProjectDocument);
  const [text, setText] = useState(allowed.join('\n'));
  const [isChanged, setChanged] = useState(false);
  const { manage } = useRights();
  const id = useId();

  async function save(event: FormEvent): Promise<void> {
    event.preventDefault();
    const origins = text.split(/[\s,]+/).filter(Boolean);
    const result = await update({ settings: { allowedOrigins: origins } });
    if (!result.data) return;
    setText(result.data.updateProject.settings.allowedOrigins.join('\n'));
    setChanged(false);
  }

  return (
    <Card title="Allowed origins">
      <form className="form" onSubmit={(event) => void save(event)}>
        <div className="field">
          <label htmlFor={id}>Origins of the pages that may use the keys, one per line</label>
          <textarea
            id={id}
            rows={4}
            className="code"
            spellCheck={false}
            readOnly={!manage}
            placeholder={'https://app.example.com\nhttps://*.example.com'}
            value={text}
            onChange={(event) => {
              setText(event.target.value);
              setChanged(true);
            }}
          />
          <p className="field-note muted">
            Leave empty to allow any origin. Only browsers are restricted, not other programs.
          </p>
        </div>
        <Save
          isChanged={isChanged}
          busy={fetching}
          saved={data !== undefined}
          problem={error ? explain(error) : null}
        />
      </form>
    </Card>
  );
}
