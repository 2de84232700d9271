/** Takes the type arguments out of the README's TypeScript, which has no other types. */
export function stripTypeScriptTypes(code: string): string {
  let out = '';
  for (let at = 0; at < code.length; at += 1) {
    // A type argument list stands between a name and a call's bracket.
    if (code[at] !== '<' || !/\w/.test(code[at - 1] ?? '')) {
      out += code[at];
      continue;
    }
    let depth = 0;
    for (; at < code.length; at += 1) {
      if (code[at] === '<') depth += 1;
      if (code[at] === '>' && code[at - 1] !== '=') depth -= 1;
      if (depth === 0) break;
    }
  }
  return out;
}
