// For row 6 (b): PostGraphile 5 on the same rows, set up as in its documentation. It runs with the Node in this folder.
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
  // The index for sorting by started_at has the project's id as its first column.
  disablePlugins: ['PgIndexBehaviorsPlugin'],
});
const server = createServer();
server.on('error', (error) => {
  throw error;
});
const serve = instance.createServ(grafserv);
await serve.addTo(server);
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
