// For row 6 (b): PostGraphile 5 on the same rows, as its own documentation sets it up. Runs under the Node beside it.
import { createServer } from 'node:http';
import { postgraphile } from 'postgraphile';
import { grafserv } from 'postgraphile/grafserv/node';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { makePgService } from 'postgraphile/adaptors/pg';

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL, schemas: ['public'] })],
  grafast: { explain: false },
  grafserv: { watch: false, graphiql: false },
  // Sorting by started_at has an index, whose first column is the project's id.
  disablePlugins: ['PgIndexBehaviorsPlugin'],
});
const server = createServer();
server.on('error', (error) => {
  throw error;
});
const serve = instance.createServ(grafserv);
await serve.addTo(server);
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
