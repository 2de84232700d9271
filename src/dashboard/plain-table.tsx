import type { ReactNode, Ref } from 'react';

/**
 * A table whose rows are `children`. Where it does not fit it scrolls sideways, with the arrow keys too. `buttons`: what those
 * of the last column do, for screen readers; that column has no heading to see.
 */
export const PlainTable = ({
  label,
  columns,
  buttons,
  ref,
  children,
}: {
  label: string;
  columns: readonly string[];
  buttons?: string | false;
  ref?: Ref<HTMLDivElement>;
  children: ReactNode;
}): ReactNode => (
  <div ref={ref} className="scroll" tabIndex={0} role="region" aria-label={label}>
    <table className="plain">
      <thead>
        <tr>
          {columns.map((name) => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
          {buttons && (
            <th scope="col">
              <span className="hidden">{buttons}</span>
            </th>
          )}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  </div>
);
