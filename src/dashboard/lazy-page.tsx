import { lazy, Suspense, type ComponentType, type ReactNode } from 'react';
import { Empty, Loading } from './parts';

/** After an update of the server, the files of the page that is open do not exist any more. */
const NotLoaded = (): ReactNode => (
  <Empty title="This page could not be loaded">
    <p>The server cannot be reached, or it was updated meanwhile.</p>
    <button type="button" className="button" onClick={() => window.location.reload()}>
      Load again
    </button>
  </Empty>
);

/** A page whose code is loaded when the page is first shown, so that the first load stays small. */
export function lazyPage<Props extends object>(load: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  const Page = lazy(() =>
    load().then(
      (loaded) => ({ default: loaded }),
      () => ({ default: NotLoaded }),
    ),
  );
  return function LazyPage(props: Props): ReactNode {
    return (
      <Suspense fallback={<Loading lines={8} label="Loading page" />}>
        <Page {...props} />
      </Suspense>
    );
  };
}
