import { defineConfig } from 'prisma/config';

// `prisma generate` requires a URL but never connects to it. The server itself gets DATABASE_URL from src/config.ts.
export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://localhost:1/none' },
});
