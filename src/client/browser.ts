/**
 * What the client uses of a browser. It is declared here, and not taken from TypeScript's DOM library, because the same files
 * run in Node, which has none of it. So TypeScript requires a check before each use.
 */

type Listener = (event: any) => void;

interface Target {
  addEventListener(type: string, listener: Listener): void;
  removeEventListener(type: string, listener: Listener): void;
}

interface LocalStorage {
  readonly length: number;
  key(at: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface PageHistory {
  pushState(this: PageHistory, ...args: any[]): void;
  replaceState(this: PageHistory, ...args: any[]): void;
}

interface Browser extends Target {
  document: Target & { readonly visibilityState: string; readonly title: string; readonly prerendering?: boolean };
  location: { readonly pathname: string };
  history: PageHistory;
  localStorage: LocalStorage;
  navigator: { readonly doNotTrack?: string | null; readonly globalPrivacyControl?: boolean };
}

/** The page that this code runs in; null in Node, and in workers. */
export const page: Browser | null =
  typeof (globalThis as Partial<Browser>).document === 'object' ? (globalThis as unknown as Browser) : null;
