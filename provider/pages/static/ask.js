// Questions to our own routes and to Airflow's API, both with the cookie of whoever looks.
import { AIRFLOW, FRAMED, airflowLink, h } from "./dom.js";

/** What came instead of an answer, in words. */
export class Refusal extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

async function answerOf(address, options) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin", headers: { Accept: "application/json", ...(options.body ? { "Content-Type": "application/json" } : {}) }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "Airflow's API server does not answer.");
  }
  const content = await response.json().catch(() => null);
  if (response.ok) return content;
  const detail = content?.detail;
  const text = typeof detail === "string" ? detail : Array.isArray(detail) ? detail.map((one) => `${one.loc?.at(-1)}: ${one.msg}`).join("; ") : response.statusText;
  throw new Refusal(response.status, text || `Airflow answered ${response.status}.`);
}

/** Ask one of our routes. */
export function ask(route, parameters = {}, options = {}) {
  const address = new URL(`api/${route}`, new URL(location.pathname, location.origin));
  for (const [name, value] of Object.entries(parameters)) if (value !== "" && value !== null && value !== undefined) address.searchParams.set(name, value);
  return answerOf(address, options);
}

/** Ask Airflow's own API: `path` in parts. */
export const askAirflow = (path, options = {}) => answerOf(new URL(`api/v2/${path.map(encodeURIComponent).join("/")}`, AIRFLOW), options);

export const sent = (data, method = "POST") => ({ method, body: JSON.stringify(data) });

/** Say what went wrong. */
export function refusal(error) {
  if (error.status === 401) {
    return h("p", { class: "callout bad", role: "alert" }, "You are logged out. ", airflowLink([], null, FRAMED ? "Load Airflow again" : "Open Airflow"), " to log in.");
  }
  return h("p", { class: "callout bad", role: "alert" }, error.message);
}

/**
 * Load something now and every few seconds, while the page is seen and until the signal. `load` may return how many seconds
 * to wait this time. A load that fails is told by `failed`, and is tried again.
 */
export function live(seconds, signal, load, failed) {
  let timer = null;
  let busy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (busy || signal.aborted || document.visibilityState !== "visible") return;
    busy = true;
    let pause = seconds;
    try {
      pause = (await load()) ?? seconds;
    } catch (error) {
      if (error.name !== "AbortError" && !signal.aborted) failed(error);
    }
    busy = false;
    if (!signal.aborted) timer = setTimeout(turn, pause * 1000);
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
  return turn;
}
