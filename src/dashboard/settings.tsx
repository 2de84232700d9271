import { useId, useState, type ComponentProps, type FormEvent, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { explain } from './api';
import { textOf } from './form';
import { UpdateProjectDocument, type SettingsFragment } from './generated/graphql';
import { Card } from './parts';

/** A labelled place of a form, with a word of explanation. */
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

/** What was saved, or why not. */
function Told({ saved, problem }: { saved: boolean; problem: string | null }): ReactNode {
  return (
    <span role="status" className={problem ? 'field-told' : 'muted'}>
      {problem ?? (saved ? 'Saved.' : '')}
    </span>
  );
}

/** How the project treats its sessions. */
export function Settings({ project }: { project: SettingsFragment }): ReactNode {
  const [{ data, error, fetching }, update] = useMutation(UpdateProjectDocument);
  const [isChanged, setChanged] = useState(false);
  const { settings } = project;

  async function save(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string): string => textOf(form, name);
    const days = text('retentionDays');
    await update({
      name: text('name'),
      settings: {
        inactivityTimeout: Number(text('inactivityTimeout')),
        presenceTimeout: Number(text('presenceTimeout')),
        retentionDays: days === '' ? null : Number(days),
        sessionStart: text('sessionStart') === 'RESUME' ? 'RESUME' : 'RESTART',
        bots: text('bots') === 'DROP' ? 'DROP' : 'MARK',
        storeIpAddress: form.get('storeIpAddress') !== null,
      },
    });
    setChanged(false);
  }

  return (
    <Card title="Settings">
      <form className="form" onSubmit={(event) => void save(event)} onChange={() => setChanged(true)}>
        <div className="form-grid">
          <Field name="Name">
            {(id) => <input id={id} name="name" required maxLength={100} defaultValue={project.name} />}
          </Field>
          <NumberField
            label="Inactivity timeout (seconds)"
            note="A session without activity for so long is closed."
            name="inactivityTimeout"
            required
            min={10}
            max={86_400}
            defaultValue={settings.inactivityTimeout}
          />
          <NumberField
            label="Presence timeout (seconds)"
            note="Without a heartbeat for so long a user counts as offline."
            name="presenceTimeout"
            required
            min={2}
            max={86_400}
            defaultValue={settings.presenceTimeout}
          />
          <NumberField
            label="Keep for (days)"
            note="Empty keeps everything."
            name="retentionDays"
            min={1}
            max={36_500}
            defaultValue={settings.retentionDays ?? ''}
          />
          <Field name="A session event while one is open">
            {(id) => (
              <select id={id} name="sessionStart" defaultValue={settings.sessionStart}>
                <option value="RESTART">Starts a new session</option>
                <option value="RESUME">Goes on with the open one</option>
              </select>
            )}
          </Field>
          <Field name="Bots">
            {(id) => (
              <select id={id} name="bots" defaultValue={settings.bots}>
                <option value="MARK">Keep and mark them</option>
                <option value="DROP">Refuse them</option>
              </select>
            )}
          </Field>
        </div>
        <label className="check">
          <input type="checkbox" name="storeIpAddress" defaultChecked={settings.storeIpAddress} /> Keep IP addresses
        </label>
        <div className="form-tools">
          <button type="submit" className="button primary" disabled={fetching || !isChanged}>
            {fetching ? 'Saving…' : 'Save'}
          </button>
          <Told saved={data !== undefined && !isChanged} problem={error ? explain(error) : null} />
        </div>
      </form>
    </Card>
  );
}

/** Whose pages may use the project's keys. */
export function Origins({ allowed }: { allowed: readonly string[] }): ReactNode {
  const [{ data, error, fetching }, update] = useMutation(UpdateProjectDocument);
  const [text, setText] = useState(allowed.join('\n'));
  const [isChanged, setChanged] = useState(false);
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
          <label htmlFor={id}>Origins whose pages may use the keys, one a line</label>
          <textarea
            id={id}
            rows={4}
            className="code"
            spellCheck={false}
            placeholder={'https://app.example.com\nhttps://*.example.com'}
            value={text}
            onChange={(event) => {
              setText(event.target.value);
              setChanged(true);
            }}
          />
          <p className="field-note muted">Empty allows any. Programs that are no browser are not concerned.</p>
        </div>
        <div className="form-tools">
          <button type="submit" className="button primary" disabled={fetching || !isChanged}>
            {fetching ? 'Saving…' : 'Save'}
          </button>
          <Told saved={data !== undefined && !isChanged} problem={error ? explain(error) : null} />
        </div>
      </form>
    </Card>
  );
}
