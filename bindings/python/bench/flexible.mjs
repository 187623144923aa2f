// What a call of rate-limiter-flexible costs, in Node, for which it is made: nanoseconds, less those of an empty loop that awaits.
import { createRequire } from "node:module";

const require = createRequire(process.argv[2] + "/");
const { RateLimiterMemory, BurstyRateLimiter, RateLimiterQueue } = require("rate-limiter-flexible");

const MANY = 1e9;
const ROUNDS = 9;
const CALLS = 100_000;

async function ns(call) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < CALLS; i++) await call();
  return Number(process.hrtime.bigint() - start) / CALLS;
}

async function main() {
  const window = () => new RateLimiterMemory({ points: MANY, duration: 60 });
  const cases = {
    "rate-limiter-flexible fixed window": ((l) => () => l.consume("k"))(window()),
    "rate-limiter-flexible bursty (two fixed windows)": ((l) => () => l.consume("k"))(new BurstyRateLimiter(window(), window())),
    "rate-limiter-flexible queue (fixed window)": ((l) => () => l.removeTokens(1))(new RateLimiterQueue(window())),
  };
  const ready = Promise.resolve();
  const times = Object.fromEntries(Object.keys(cases).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    const empty = await ns(() => ready);
    for (const [name, call] of Object.entries(cases)) times[name].push((await ns(call)) - empty);
  }
  for (const [name, all] of Object.entries(times)) {
    all.sort((a, b) => a - b);
    console.log(`${name.padEnd(55)} ${all[ROUNDS >> 1].toFixed(1).padStart(9)} ${all[0].toFixed(1).padStart(9)}`);
  }
  process.exit(0);
}

main();
