// The event stream, read by fetch so that heartbeats are seen and a cut is told from silence.

const SILENT_MS = 40_000;
const WAITS_MS = [500, 1000, 2000, 5000, 10_000];

/**
 * Follow `/v1/stream` until stopped; after a cut it goes on behind the last event that was seen.
 *
 * onEvent(type, document) is called for each event, onState(state) with "connected", "catching_up" or "stale",
 * onGap() when events were lost, so that everything has to be read again.
 */
export function follow(path, { onEvent, onState, onGap }) {
  const listener = { lastId: null, attempt: 0, stopped: false, cut: null };
  run(listener, path, { onEvent, onState, onGap });
  return {
    stop() {
      listener.stopped = true;
      listener.cut?.abort();
    },
    lastId: () => listener.lastId,
  };
}

async function run(listener, path, handlers) {
  while (!listener.stopped) {
    try {
      await read(listener, path, handlers);
    } catch {
      // The next attempt tells whether it lasts.
    }
    if (listener.stopped) return;
    handlers.onState(listener.attempt ? "stale" : "catching_up");
    const wait = WAITS_MS[Math.min(listener.attempt, WAITS_MS.length - 1)];
    listener.attempt += 1;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function read(listener, path, handlers) {
  listener.cut = new AbortController();
  let silence = setTimeout(() => listener.cut.abort(), SILENT_MS);
  const headers = { accept: "text/event-stream" };
  if (listener.lastId !== null) headers["last-event-id"] = listener.lastId;
  const response = await fetch(path, { headers, signal: listener.cut.signal, cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const parse = parser((message) => {
    if (message.id !== null) listener.lastId = message.id;
    if (message.data === "") return;
    const document = JSON.parse(message.data);
    if (message.event === "stream.gap") handlers.onGap(document);
    else handlers.onEvent(message.event, document);
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => listener.cut.abort(), SILENT_MS);
      parse(value);
      listener.attempt = 0;
      handlers.onState("connected");
    }
  } finally {
    clearTimeout(silence);
  }
}

/** Cuts text that comes in pieces into messages, as the standard of server-sent events says. */
export function parser(onMessage) {
  let rest = "";
  let message = { id: null, event: "message", data: [] };
  return (piece) => {
    const lines = (rest + piece).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        onMessage({ ...message, data: message.data.join("\n") });
        message = { id: null, event: "message", data: [] };
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "data") message.data.push(value);
      else if (name === "id") message.id = value;
      else if (name === "event") message.event = value;
    }
  };
}
