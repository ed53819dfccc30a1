// The input: the 200,000 flight records of vega-datasets (flights-200k.json), the largest set of the
// package that needs no reader of its own (flights-3m is Parquet). A record has the delay in minutes, the
// distance in miles and the hour of departure with its fraction, but neither carrier nor airport: so
// flights are grouped by hour and distance.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export interface Flight {
  /** Minutes; below zero: early. */
  delay: number;
  /** Miles. */
  distance: number;
  /** Hour of departure: 17.5 is half past five. */
  time: number;
}

/** A flight counts as delayed beyond this, as airlines and authorities count. */
export const DELAYED_MINUTES = 15;

export const isDelayed = ({ delay }: Flight): boolean => delay > DELAYED_MINUTES;

export function readFlights(limit = Number.POSITIVE_INFINITY): Flight[] {
  // Its manifest is not among its exports; the entry point lies one folder below the root, as data does.
  const root = dirname(dirname(createRequire(import.meta.url).resolve('vega-datasets')));
  const flights = JSON.parse(readFileSync(join(root, 'data', 'flights-200k.json'), 'utf8')) as Flight[];
  // Every nth record instead of the first ones, so that a part has all hours of the day too.
  if (limit >= flights.length) return flights;
  const step = flights.length / limit;
  return Array.from({ length: limit }, (_, index) => flights[Math.floor(index * step)] as Flight);
}

/** `17h short`: the hour of departure and how far. */
export function groupOf({ time, distance }: Flight): string {
  const how = distance < 500 ? 'short' : distance < 1000 ? 'medium' : distance < 2000 ? 'long' : 'far';
  return `${hourOf(time)} ${how}`;
}

export const hourOf = (time: number): string => `${String(Math.floor(time)).padStart(2, '0')}h`;

export interface Tally {
  flights: number;
  minutes: number;
}

/** Flights and minutes by group. */
export function tally(flights: Iterable<Flight>): Map<string, Tally> {
  const tallies = new Map<string, Tally>();
  for (const flight of flights) {
    const group = groupOf(flight);
    const before = tallies.get(group) ?? { flights: 0, minutes: 0 };
    tallies.set(group, { flights: before.flights + 1, minutes: before.minutes + flight.delay });
  }
  return tallies;
}
