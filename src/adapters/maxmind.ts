import { readFile } from 'node:fs/promises';
import { Reader, type Response } from 'mmdb-lib';
import type { Geography, Place } from '../services/ingest/geography.js';

/** The file of GEOIP_DATABASE cannot be used. The message says why. */
export class GeographyError extends Error {
  override readonly name = 'GeographyError';
}

/** The fields of MaxMind's City and Country databases, and the flat fields of other makers' databases. */
interface Found {
  country?: { iso_code?: string };
  subdivisions?: readonly { names?: { en?: string }; iso_code?: string }[];
  city?: { names?: { en?: string } } | string;
  country_code?: string;
  state1?: string;
}

function placeOf(found: Found | null): Place | null {
  const country = found?.country?.iso_code ?? found?.country_code;
  if (!found || !country) return null;
  const [subdivision] = found.subdivisions ?? [];
  const city = typeof found.city === 'string' ? found.city : found.city?.names?.en;
  return {
    country,
    region: subdivision?.names?.en ?? subdivision?.iso_code ?? found.state1 ?? null,
    city: city ?? null,
  };
}

/** Reads a database file in MaxMind's format into memory. Throws GeographyError. */
export async function openGeography(file: string): Promise<Geography> {
  let reader: Reader<Response>;
  try {
    reader = new Reader<Response>(await readFile(file));
  } catch (error) {
    throw new GeographyError(
      `GEOIP_DATABASE cannot be used: ${error instanceof Error ? error.message : String(error)}. It must be a file in MaxMind's format (.mmdb).`,
    );
  }
  return {
    locate(ipAddress) {
      try {
        return placeOf(reader.get(ipAddress) as Found | null);
      } catch {
        // The text is not an address.
        return null;
      }
    },
  };
}
