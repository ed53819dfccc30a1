// Sums as INCRBYFLOAT makes and prints them: Redis adds long doubles (64 bits of mantissa, x86) and prints 17
// decimals without the zeros behind them. Done here with exact fractions, rounded where Redis rounds.

interface Fraction {
  readonly over: bigint;
  /** Above 0. */
  readonly under: bigint;
}

const MANTISSA_BITS = 64;
const DECIMALS = 17;
/** Beyond this the numbers get long, and nobody counts with them. */
const EXPONENT_MAX = 300;

/** undefined: one of them is no number, or far too large a one. */
export function addDecimals(a: string, b: string): string | undefined {
  const [x, y] = [parse(a), parse(b)];
  if (x === undefined || y === undefined) return undefined;
  const sum = { over: x.over * y.under + y.over * x.under, under: x.under * y.under };
  return printed(rounded(sum));
}

/** Of the first digit that counts, in a long double of x86. */
const LONG_DOUBLE = { largest: 4931, smallest: -4950 };

/** Whether the number can be a long double at all: what overflows or vanishes is no number to Redis. */
export function isLongDouble(text: string): boolean {
  const match = /^[+-]?([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$/.exec(text);
  if (match === null) return true;
  const [, whole = '', fraction = '', exponent = '0'] = match;
  const first = `${whole}${fraction}`.search(/[1-9]/);
  const magnitude = Number(exponent) + whole.length - 1 - first;
  return first === -1 || (magnitude <= LONG_DOUBLE.largest && magnitude >= LONG_DOUBLE.smallest);
}

function parse(text: string): Fraction | undefined {
  const match = /^([+-]?)([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$/.exec(text);
  if (match === null || (match[2] === '' && match[3] === '')) return undefined;
  const [, sign, whole = '', fraction = '', exponent = '0'] = match;
  const places = fraction.length - Number(exponent);
  if (Math.abs(places) > EXPONENT_MAX || whole.length > EXPONENT_MAX) return undefined;
  const digits = BigInt(`${whole}${fraction}`) * (sign === '-' ? -1n : 1n);
  const power = 10n ** BigInt(Math.abs(places));
  return rounded(places < 0 ? { over: digits * power, under: 1n } : { over: digits, under: power });
}

/** The nearest number with 64 bits of mantissa; of two, the even one. */
function rounded({ over, under }: Fraction): Fraction {
  if (over === 0n) return { over: 0n, under: 1n };
  const size = over < 0n ? -over : over;
  let shift = MANTISSA_BITS - (size.toString(2).length - under.toString(2).length);
  let mantissa = scaled(size, under, shift);
  // Only the lengths were compared: it may be one bit too long.
  if (mantissa >> BigInt(MANTISSA_BITS) > 0n) mantissa = scaled(size, under, --shift);
  const signed = over < 0n ? -mantissa : mantissa;
  return shift >= 0
    ? { over: signed, under: 1n << BigInt(shift) }
    : { over: signed << BigInt(-shift), under: 1n };
}

/** over * 2^shift / under, to the nearest whole number. */
const scaled = (over: bigint, under: bigint, shift: number): bigint =>
  shift >= 0 ? divided(over << BigInt(shift), under) : divided(over, under << BigInt(-shift));

function divided(over: bigint, under: bigint): bigint {
  const [whole, rest] = [over / under, over % under];
  const isUp = rest * 2n > under || (rest * 2n === under && whole % 2n === 1n);
  return isUp ? whole + 1n : whole;
}

function printed({ over, under }: Fraction): string {
  const isNegative = over < 0n;
  const digits = divided((isNegative ? -over : over) * 10n ** BigInt(DECIMALS), under)
    .toString()
    .padStart(DECIMALS + 1, '0');
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, '');
  const whole = digits.slice(0, -DECIMALS);
  const text = fraction === '' ? whole : `${whole}.${fraction}`;
  return isNegative && text !== '0' ? `-${text}` : text;
}
