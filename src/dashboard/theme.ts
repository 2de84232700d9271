import { useSyncExternalStore } from 'react';

export type Theme = 'light' | 'dark';

const KEY = 'footsteps.theme';
const prefersDark = window.matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();

const chosen = (): Theme | null => {
  const kept = localStorage.getItem(KEY);
  return kept === 'light' || kept === 'dark' ? kept : null;
};

const themeNow = (): Theme => chosen() ?? (prefersDark.matches ? 'dark' : 'light');

/** Applies the theme to the page. Components that use it are drawn again. */
export function applyTheme(): void {
  document.documentElement.dataset['theme'] = themeNow();
  for (const listener of listeners) listener();
}

prefersDark.addEventListener('change', applyTheme);

/** Chooses the other theme and stores the choice in this browser. */
export function toggleTheme(): void {
  localStorage.setItem(KEY, themeNow() === 'dark' ? 'light' : 'dark');
  applyTheme();
}

/** The current theme of the page. React draws the component again when it changes. */
export const useTheme = (): Theme =>
  useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, themeNow);
