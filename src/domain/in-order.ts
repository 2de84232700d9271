/** The index of the first element of `list` whose time is `time` or later. `list` must be in the order of `timeOf`. */
export function firstFrom<One>(list: readonly One[], time: number, timeOf: (one: One) => number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (timeOf(list[middle]!) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
