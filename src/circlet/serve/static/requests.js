// Requests to the service: answers as objects, and what went wrong as one sentence.

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

const TRIES = 4;

export async function ask(method, path, { body, signal, query } = {}) {
  const address = query ? `${path}?${new URLSearchParams(query)}` : path;
  for (let tried = 1; ; tried += 1) {
    let response;
    try {
      response = await fetch(address, { method, body, signal, headers: { "X-Circlet": "1" } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The service cannot be reached. Is it still running?");
    }
    if (response.status === 204) return null;
    if (response.ok) return response.json();
    const wait = Number(response.headers.get("Retry-After"));
    if ((response.status === 503 || response.status === 429) && wait <= 10 && tried < TRIES) {
      await new Promise((done) => { setTimeout(done, 1000 * (wait || 1)); });
      continue;
    }
    const answer = await response.json().catch(() => ({}));
    throw new Refused(response.status, plain(answer.error) || `The service answered with status ${response.status}.`);
  }
}

export function form(parts) {
  const made = new FormData();
  for (const [name, value] of Object.entries(parts)) made.append(name, value);
  return made;
}

function plain(sentence) {
  return sentence ? `${sentence[0].toUpperCase()}${sentence.slice(1)}.` : "";
}
