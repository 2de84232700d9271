import { useId, useRef, useState, type ReactNode } from 'react';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useMutation, type AnyVariables, type CombinedError } from 'urql';
import { Refusal } from './parts';

/**
 * A button, and the dialog that asks whether to do it. `children` say what it does. The browser keeps the focus in the dialog,
 * closes it on Escape, and gives the focus back to the button. `name`: that of the button, if its text is not enough. `does`
 * and `doing`: the text of the confirming button, before and while the server works. `isSafe`: nothing is lost by it.
 *
 * Closing the dialog does not stop what was confirmed. If the server then refuses it, the dialog opens again and says so.
 */
export function Confirm<Data, Variables extends AnyVariables>({
  button,
  name,
  className = 'button',
  title,
  does,
  doing,
  isSafe = false,
  mutation,
  variables,
  onDone,
  children,
}: {
  button: string;
  name?: string;
  className?: string;
  title: string;
  does: string;
  doing: string;
  isSafe?: boolean;
  mutation: TypedDocumentNode<Data, Variables>;
  variables: Variables;
  onDone?: (data: Data) => void;
  children: ReactNode;
}): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const safe = useRef<HTMLButtonElement>(null);
  const [{ fetching }, run] = useMutation(mutation);
  /** As `fetching`, which a second click of the same moment does not see yet. */
  const isWorking = useRef(false);
  const [error, setError] = useState<CombinedError>();
  const id = useId();

  function open(): void {
    dialog.current?.showModal();
    safe.current?.focus();
  }

  async function confirm(): Promise<void> {
    if (isWorking.current) return;
    isWorking.current = true;
    // An error that comes again is announced again.
    setError(undefined);
    const result = await run(variables);
    isWorking.current = false;
    if (result.data) {
      dialog.current?.close();
      onDone?.(result.data);
      return;
    }
    setError(result.error);
    if (dialog.current?.open === false) open();
  }

  return (
    <>
      <button
        type="button"
        className={className}
        aria-label={name}
        onClick={(event) => {
          if (!isWorking.current) setError(undefined);
          // Safari does not focus a button that is clicked, and would have nothing to give the focus back to.
          event.currentTarget.focus();
          open();
        }}
      >
        {button}
      </button>
      <dialog ref={dialog} role="alertdialog" aria-labelledby={`${id}title`} aria-describedby={`${id}text`}>
        <h2 id={`${id}title`}>{title}</h2>
        <p id={`${id}text`}>{children}</p>
        <Refusal error={error} />
        <div className="dialog-tools">
          <button ref={safe} type="button" className="button" onClick={() => dialog.current?.close()}>
            {fetching ? 'Close' : 'Cancel'}
          </button>
          <button
            type="button"
            className={isSafe ? 'button primary' : 'button danger'}
            // Not `disabled`, which would take the focus away.
            aria-disabled={fetching}
            onClick={() => void confirm()}
          >
            <span aria-live="polite">{fetching ? doing : does}</span>
          </button>
        </div>
      </dialog>
    </>
  );
}
