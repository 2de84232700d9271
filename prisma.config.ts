import { defineConfig } from 'prisma/config';

// `prisma generate` wants a URL but never opens it; the server itself takes DATABASE_URL from src/config.ts.
export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://localhost:1/none' },
});
