import type { ReactNode } from 'react';

/**
 * The buttons of a list that is read a page at a time, the newest first. `cursors` are those after which this page and the
 * pages before it begin; the first page has none. Nothing is shown if there is one page alone.
 */
export const Pager = ({
  cursors,
  pageInfo,
  onChange,
}: {
  cursors: readonly string[];
  pageInfo: { hasNextPage: boolean; endCursor?: string | null };
  onChange: (cursors: readonly string[]) => void;
}): ReactNode => {
  const { hasNextPage, endCursor } = pageInfo;
  if (cursors.length === 0 && !hasNextPage) return null;
  return (
    <div className="form-tools list-more">
      <button
        type="button"
        className="button"
        disabled={cursors.length === 0}
        onClick={() => onChange(cursors.slice(0, -1))}
      >
        Later
      </button>
      <button
        type="button"
        className="button"
        disabled={!hasNextPage}
        onClick={() => endCursor && onChange([...cursors, endCursor])}
      >
        Earlier
      </button>
    </div>
  );
};
