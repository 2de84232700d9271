import { useSyncExternalStore } from 'react';

const narrow = window.matchMedia('(max-width: 760px)');

/** Whether the window is as narrow as a phone (760 px or less). */
export const useNarrow = (): boolean =>
  useSyncExternalStore(
    (listener) => {
      narrow.addEventListener('change', listener);
      return () => narrow.removeEventListener('change', listener);
    },
    () => narrow.matches,
  );
