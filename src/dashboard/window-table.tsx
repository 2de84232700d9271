import { useRef, type ComponentType, type ReactNode } from 'react';
import { useNarrow } from './media';
import { stepRows, useWindowRows } from './window-rows';

/** A row of the table: its place in the list, and its upper edge in pixels. */
export interface RowProps<Item> {
  readonly item: Item;
  readonly index: number;
  readonly top: number;
}

/**
 * A table of any number of rows, of which only those in sight are drawn. All rows have the same height: one of two, in pixels.
 * `onNearEnd` is called when the last rows come near. Arrow keys move the focus between rows.
 */
export function WindowTable<Item extends { readonly id: string }>({
  label,
  columns,
  className,
  rows,
  heights,
  Row,
  onNearEnd,
}: {
  label: string;
  columns: readonly string[];
  className: string;
  rows: readonly Item[];
  heights: { readonly wide: number; readonly phone: number };
  Row: ComponentType<RowProps<Item>>;
  onNearEnd: () => void;
}): ReactNode {
  const body = useRef<HTMLDivElement>(null);
  const height = useNarrow() ? heights.phone : heights.wide;
  const [first, last] = useWindowRows(body, rows.length, height, onNearEnd);
  return (
    <div role="table" aria-label={label} aria-rowcount={rows.length + 1} className={`session-table ${className} card`}>
      <div role="rowgroup" className="session-head">
        <div role="row" aria-rowindex={1}>
          {columns.map((name) => (
            <div key={name} role="columnheader">
              {name}
            </div>
          ))}
        </div>
      </div>
      <div
        role="rowgroup"
        ref={body}
        className="session-body"
        style={{ height: rows.length * height }}
        onKeyDown={(event) => stepRows(event, rows.length, height)}
      >
        {rows.slice(first, last).map((item, place) => (
          <Row key={item.id} item={item} index={first + place} top={(first + place) * height} />
        ))}
      </div>
    </div>
  );
}
