// Why a schema cannot be used. Whoever reads the schema turns it into an error of his own.

export class SchemaProblem extends Error {
  /** JSON pointer into the JSON Schema; empty: all of it. */
  readonly place: string;
  /** Without the place. */
  readonly what: string;

  constructor(place: string, what: string) {
    super(place === '' ? what : `${place.slice(0, 200)} ${what}`);
    this.place = place;
    this.what = what;
  }
}
