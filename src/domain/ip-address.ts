/** The fields of an event's data that hold an address of the user, by the object that holds them. */
const ADDRESSES: Readonly<Record<string, readonly string[]>> = {
  '@request': ['client_ip_address'],
  '@environment': ['ip_address'],
  '@submission_client': ['ip_address'],
};

/** A copy of the data without the user's addresses, for projects that store none (storeIpAddress). */
export function withoutIpAddress(data: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const kept: Record<string, unknown> = { ...data };
  for (const [name, fields] of Object.entries(ADDRESSES)) {
    const holder = kept[name];
    if (typeof holder !== 'object' || holder === null || Array.isArray(holder)) continue;
    kept[name] = Object.fromEntries(Object.entries(holder).filter(([field]) => !fields.includes(field)));
  }
  return kept;
}
