import axe from 'axe-core';
import type { Page } from 'playwright-core';

/** The faults that axe finds on the page, as texts. */
export async function violationsOf(page: Page): Promise<string[]> {
  // During an animation the colours are not the final ones.
  await page.evaluate(() => {
    for (const one of document.getAnimations()) {
      if (one.effect?.getTiming().iterations === Infinity) one.cancel();
      else one.finish();
    }
  });
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe.source);
  const found = await page.evaluate(() =>
    (globalThis as unknown as { axe: typeof axe }).axe.run({
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      // Of what is well, it need not gather every element.
      resultTypes: ['violations'],
    }),
  );
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}
