import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { type SharedCall, SingleFlight } from '../../src/base/single-flight.ts';

/** Work that the test ends, and that notes what it was given. */
function workshop() {
  const started: SharedCall[] = [];
  const ends: PromiseWithResolvers<string>[] = [];
  const work = (controls: SharedCall) => {
    const end = Promise.withResolvers<string>();
    started.push(controls);
    ends.push(end);
    return end.promise;
  };
  return { started, ends, work, flights: new SingleFlight<string>() };
}

test('all who ask at the same time get the outcome of one piece of work', async () => {
  const { started, ends, work, flights } = workshop();
  const callers = [flights.join('a', work), flights.join('a', work, new AbortController().signal)];
  const other = flights.join('b', work);
  await setImmediate();
  expect(started).toHaveLength(2);
  ends[0]?.resolve('one');
  ends[1]?.resolve('two');
  expect(await Promise.all(callers)).toEqual(['one', 'one']);
  expect(await other).toBe('two');
});

test('a failure reaches all who wait, and the next caller starts anew', async () => {
  const { started, ends, work, flights } = workshop();
  const callers = [flights.join('a', work), flights.join('a', work)];
  await setImmediate();
  ends[0]?.reject(new Error('no'));
  for (const caller of callers) await expect(caller).rejects.toThrow('no');
  void flights.join('a', work);
  await setImmediate();
  expect(started).toHaveLength(2);
});

test('the first caller leaves at once with its reason, and the others get the outcome', async () => {
  const { started, ends, work, flights } = workshop();
  const first = new AbortController();
  const leaving = flights.join('a', work, first.signal);
  const staying = flights.join('a', work, new AbortController().signal);
  await setImmediate();
  const reason = new SregistryError('TIMED_OUT', 'too late');
  first.abort(reason);
  await expect(leaving).rejects.toBe(reason);
  expect(started[0]?.signal.aborted).toBe(false);
  ends[0]?.resolve('done');
  expect(await staying).toBe('done');
});

test('when the last caller leaves the work is aborted, and the next caller starts anew', async () => {
  const { started, ends, work, flights } = workshop();
  const callers = [new AbortController(), new AbortController()];
  const waiting = callers.map(({ signal }) => flights.join('a', work, signal));
  await setImmediate();
  for (const caller of callers) caller.abort();
  for (const wait of waiting) await expect(wait).rejects.toMatchObject({ code: 'CANCELED' });
  expect(started[0]?.signal.aborted).toBe(true);
  const next = flights.join('a', work);
  await setImmediate();
  // The work that was aborted ends late, which is nothing to the one that runs now.
  ends[0]?.resolve('late');
  await setImmediate();
  const joined = flights.join('a', work);
  ends[1]?.resolve('anew');
  expect(await Promise.all([next, joined])).toEqual(['anew', 'anew']);
  expect(started.map((each) => each.isCurrent())).toEqual([false, false]);
});

test('a caller whose signal has fired already starts nothing', async () => {
  const { started, work, flights } = workshop();
  await expect(flights.join('a', work, AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELED' });
  await setImmediate();
  expect(started).toEqual([]);
});

test('a flight that was forgotten lands for its callers, and knows that its outcome is old', async () => {
  const { started, ends, work, flights } = workshop();
  const old = flights.join('a', work);
  await setImmediate();
  expect(started[0]?.isCurrent()).toBe(true);
  flights.forget('a');
  expect(started[0]?.isCurrent()).toBe(false);
  const fresh = flights.join('a', work);
  await setImmediate();
  ends[0]?.resolve('old');
  ends[1]?.resolve('fresh');
  expect(await Promise.all([old, fresh])).toEqual(['old', 'fresh']);
});

test('aborting ends all work with that reason, and waits for its end', async () => {
  const { started, ends, work, flights } = workshop();
  const waiting = flights.join('a', work).catch((error: unknown) => error);
  await setImmediate();
  const reason = new SregistryError('CANCELED', 'the end');
  let isOver = false;
  const over = flights.abort(reason).then(() => {
    isOver = true;
  });
  expect(started[0]?.signal.reason).toBe(reason);
  await setImmediate();
  expect(isOver).toBe(false);
  ends[0]?.reject(new Error('the connection was closed'));
  await over;
  expect(await waiting).toBe(reason);
});
