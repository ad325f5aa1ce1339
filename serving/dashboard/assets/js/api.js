// Calls of the public API, in the session of whoever signed in.

let csrf = null;

/** What the API refused, as its problem document says. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

export function setCsrf(token) {
  csrf = token;
}

export async function get(path, { signal } = {}) {
  return answer(await fetch(path, { signal, headers: { accept: "application/json" } }));
}

export async function send(method, path, body) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  if (csrf) headers["x-csrf-token"] = csrf;
  return answer(await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }));
}

/** Null where the API does not know what is asked for. */
export async function getIfKnown(path, options) {
  try {
    return await get(path, options);
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

async function answer(response) {
  const text = await response.text();
  let body = {};
  try {
    body = text ? JSON.parse(text) : {};
  } catch {
    body = { detail: text.slice(0, 200) };
  }
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}
