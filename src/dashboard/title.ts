import { useEffect, useLayoutEffect, useRef } from 'react';

const put = (name: string): void => {
  document.title = `${name} – Footsteps`;
};

/** Gives the tab the name of the page at `location`, until the page itself knows a better one (`useTitle`). */
export function usePlaceTitle(location: string, name: string): void {
  const told = useRef('');
  // Before the effects of the page, which may have its data already. Two pages of one name are two places.
  useLayoutEffect(() => {
    if (told.current === location) return;
    told.current = location;
    put(name);
  }, [location, name]);
}

/** Gives the tab the name of what the page shows. */
export const useTitle = (name: string): void => useEffect(() => put(name), [name]);
