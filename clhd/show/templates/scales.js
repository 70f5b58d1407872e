// Numbers as text, and scales: a scale turns a number into pixels, and has ticks.
function formatNumber(value) {
  if (value === null) return "not known";
  const short = Number(value.toPrecision(4));
  const text = Math.abs(short) >= 1e12
    ? short.toExponential()
    : Number.isInteger(value) && Math.abs(value) >= 1e3 ? value.toLocaleString("en-US") : String(short);
  return text.replaceAll("-", "\u2212");
}

// A mean with two standard errors, rounded so that these have two digits.
function formatEstimate(value, error) {
  if (value === null || !error) return formatNumber(value);
  const digits = 1 - Math.floor(Math.log10(2 * error));
  if (digits > 7 || digits < 0) return `${formatNumber(value)} \u00b1 ${formatNumber(2 * error)}`;
  return `${value.toFixed(digits)} \u00b1 ${(2 * error).toFixed(digits)}`.replaceAll("-", "\u2212");
}

function spreadTicks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.max(0, Math.floor(high / step + 1e-9) - first + 1);
  return Array.from({ length: count }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

function spreadPowers(low, high, most) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (last - first < 1) return spreadTicks(low, high, most).filter((tick) => tick > 0);
  const step = Math.ceil((last - first + 1) / Math.max(2, most));
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, k) => Number(`1e${first + k * step}`));
}

function makeScale([low, high], [start, end], isLogarithmic) {
  const bend = isLogarithmic ? Math.log : (value) => value;
  const [a, b] = [bend(low), bend(high)];
  return {
    place: (value) => start + ((bend(value) - a) / (b - a || 1)) * (end - start),
    tick: (most) => (isLogarithmic ? spreadPowers : spreadTicks)(low, high, most),
    holds: (value) => value !== null && (!isLogarithmic || value > 0),
  };
}

// The range of some numbers with room at both ends.
function findRange(numbers, isLogarithmic, room) {
  let [low, high] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (number === null || (isLogarithmic && number <= 0)) continue;
    low = Math.min(low, number);
    high = Math.max(high, number);
  }
  if (low > high) return isLogarithmic ? [0.1, 10] : [-1, 1];
  if (isLogarithmic) {
    const factor = low === high ? 2 : Math.exp((Math.log(high) - Math.log(low)) * room);
    return [Math.max(low / factor, Number.MIN_VALUE), Math.min(high * factor, Number.MAX_VALUE)];
  }
  const extra = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * room;
  return [low - extra, high + extra];
}
