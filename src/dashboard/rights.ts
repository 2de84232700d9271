import type { Client, CombinedError } from 'urql';
import { OPERATOR, type Rights } from './credential';
import { MayOperateDocument, MayReadDocument, MaySeePresenceDocument, SignInDocument } from './generated/graphql';

const isForbidden = (error: CombinedError | undefined): boolean =>
  error?.graphQLErrors.some(({ extensions }) => extensions['code'] === 'FORBIDDEN') ?? false;

/**
 * What the key or token of `client` may do. It is found by asking for one thing of each scope, without rows. Returns the
 * error instead if the server does not know the key, or if something else is wrong.
 */
export async function askRights(client: Client): Promise<{ rights: Rights } | { error: CombinedError }> {
  const [project, read, presence] = await Promise.all([
    client.query(SignInDocument, {}).toPromise(),
    client.query(MayReadDocument, {}).toPromise(),
    client.query(MaySeePresenceDocument, {}).toPromise(),
  ]);
  // The audit log alone may be refused: the rest of the project is in the answer then. The operator key has no project.
  if (!project.data) {
    if (!isForbidden(project.error)) return { error: project.error! };
    const projects = await client.query(MayOperateDocument, {}).toPromise();
    return projects.data ? { rights: OPERATOR } : { error: projects.error! };
  }
  const failed = [project, read, presence].find(({ error }) => error && !isForbidden(error));
  if (failed?.error) return { error: failed.error };
  return {
    rights: {
      read: Boolean(read.data),
      presence: Boolean(presence.data),
      manage: Boolean(project.data.project.auditLog),
      operator: false,
    },
  };
}
