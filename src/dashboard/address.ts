import { useMemo } from 'react';
import { navigate, useSearch } from 'wouter/use-browser-location';
import { withParams, type Changes } from './conditions';

/** Changes parameters of the address of this page. */
export function changeAddress(changes: Changes): void {
  const { pathname, search } = window.location;
  navigate(pathname + withParams(new URLSearchParams(search), changes), { replace: true });
}

/** The parameters of the address. React draws the component again when they change. */
export function useParams(): URLSearchParams {
  const search = useSearch();
  return useMemo(() => new URLSearchParams(search), [search]);
}
