import type { ReactNode } from 'react';
import { Link } from 'wouter';
import { useCredential } from './credential';
import { Empty } from './parts';
import { readToken } from './token';

/** The page of something that does not exist, or that the user may not see. `path` leads to the `list` of what there is. */
export function NotFound({ title, path, list }: { title: string; path: string; list: string }): ReactNode {
  const { secret } = useCredential();
  const isNarrowed = Boolean(readToken(secret ?? '')?.identities);
  return (
    <Empty title={title} isPage>
      It may have been erased{isNarrowed && ', or be of a user that you cannot see'}.{' '}
      <Link href={path}>Go to {list}</Link>
    </Empty>
  );
}
