/**
 * So many costly requests are under way at a time. The server reads few things at a time for a key, and what is quick must
 * not wait for what is slow.
 */
const MOST = 2;

/** A request that has no answer in this time gives its turn back. The server gives up its statements before. Milliseconds. */
const LONGEST = 90_000;

/** `rank`: those of a lower rank come first. `begin` is called when the turn has come. */
interface Waiting {
  readonly rank: number;
  readonly begin: () => void;
}

let underWay = 0;
/** In the order of asking. */
const waiting = new Set<Waiting>();

/** Gives turns to those who wait, while there are any. */
function giveTurns(): void {
  while (underWay < MOST && waiting.size > 0) {
    const next = [...waiting].reduce((first, one) => (one.rank < first.rank ? one : first));
    waiting.delete(next);
    underWay += 1;
    next.begin();
  }
}

/** Resolves when the turn has come. Rejects if `signal` is aborted before. */
const turnOf = (rank: number, signal: AbortSignal | null | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const one = { rank, begin: resolve };
    waiting.add(one);
    signal?.addEventListener('abort', () => {
      if (waiting.delete(one)) reject(signal.reason);
    });
    // Whatever is asked at the same moment is ordered first.
    window.setTimeout(giveTurns);
  });

/**
 * Like fetch, for questions that take seconds on a big project: MOST of them at a time, the others wait. Who goes away before
 * the turn asks nothing. Who goes away later keeps the turn until the answer, because the server goes on.
 */
const inTurn =
  (rank: number): typeof fetch =>
  async (input, init) => {
    await turnOf(rank, init?.signal);
    try {
      const answer = await fetch(input, { ...init, signal: AbortSignal.timeout(LONGEST) });
      if (init?.signal?.aborted) void answer.body?.cancel();
      return answer;
    } finally {
      underWay -= 1;
      giveTurns();
    }
  };

/** For what matters most on a page. */
export const fetchFirst = inTurn(0);
/** For the rest. */
export const fetchLater = inTurn(1);
