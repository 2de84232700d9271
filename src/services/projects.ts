import type { Reach } from '../domain/access.js';
import type { ProjectSettings } from '../domain/project.js';
import type { Project } from '../store/generated/prisma/client.js';

export interface Projects {
  get(reach: Reach): Promise<Project>;
  /** For the operator. Answers the project and a first key with every scope. BAD_USER_INPUT names the setting that is wrong. */
  create(input: { name: string; settings?: Partial<ProjectSettings> | null }): Promise<{ project: Project; key: string }>;
  /** Changes what is given; a change of a timeout reaches open sessions at once. */
  update(reach: Reach, input: { name?: string | null; settings?: Partial<ProjectSettings> | null }): Promise<Project>;
}
