// Which page is shown: the part after # says it, or the address of a tab in Airflow, which names a DAG run.
import { ask, refusal } from "./ask.js";
import { FRAMED, asked, fill, h, to } from "./dom.js";
import * as batch from "./batch.js";
import * as batches from "./batches.js";
import * as definitions from "./definitions.js";
import * as health from "./health.js";
import * as requests from "./requests.js";

const VIEWS = { batches, batch, requests, definitions, definition: definitions, health };
const TABS = [["batches", "Batches"], ["requests", "Requests"], ["definitions", "Definitions"], ["health", "Health"]];
const view = document.getElementById("view");
const tabs = document.getElementById("tabs");
const here = new URLSearchParams(location.search);
let [leaving, person] = [new AbortController(), null];

/** Airflow shows what is in its frame in its own address, as of the last load. Ours changes without one. */
function tellAirflow() {
  if (!FRAMED) return;
  const around = window.parent.location.pathname;
  if (!around.endsWith(location.pathname) || !around.includes("/plugin/")) return;
  window.parent.history.replaceState(window.parent.history.state, "", around + location.search + location.hash);
}

function draw() {
  leaving.abort();
  leaving = new AbortController();
  document.getElementById("dialog").close();
  // The tab of a DAG run shows that run, and whatever its links lead to.
  const run = here.has("run_id") && !location.hash ? { view: "batch", parameters: Object.fromEntries(here), inTab: true } : { ...asked(), inTab: false };
  const name = VIEWS[run.view] ? run.view : "batches";
  tabs.hidden = run.inTab;
  const current = { batch: "batches", definition: "definitions" }[name] ?? name;
  fill(tabs, ...TABS.filter(([tab]) => tab !== "health" || person.health).map(([tab, title]) => h("a", { href: to(tab), "aria-current": tab === current ? "page" : null }, title)));
  const key = view.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  fill(view, h("p", { class: "muted" }, "Loading …"));
  VIEWS[name].show(view, run.parameters, { signal: leaving.signal, inTab: run.inTab, person, name });
  if (key) view.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus(); // who has chosen a filter goes on from there
}

addEventListener("hashchange", () => { tellAirflow(); draw(); });
document.getElementById("dialog").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });

ask("person").then((found) => { person = found; tellAirflow(); draw(); }, (error) => fill(view, refusal(error)));
