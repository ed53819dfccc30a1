// A process gets a share of the time of a core, on any system: it is stopped for the rest of each period.

const PERIOD_MS = 40;

/** Returns its end; the process goes on then. */
export function throttle(pid: number, share: number): () => void {
  let timer: NodeJS.Timeout;
  const signal = (name: 'SIGSTOP' | 'SIGCONT') => {
    try {
      process.kill(pid, name);
    } catch {
      // It has ended: who watches it says so.
    }
  };
  const stop = () => {
    signal('SIGSTOP');
    timer = setTimeout(go, PERIOD_MS * (1 - share));
  };
  const go = () => {
    signal('SIGCONT');
    timer = setTimeout(stop, PERIOD_MS * share);
  };
  stop();
  return () => {
    clearTimeout(timer);
    signal('SIGCONT');
  };
}
