// The inbox: what waits, what was rejected and why, and another chance for it.
import { ask, live, refusal, sent } from "./ask.js";
import { facts, fill, h, longText, pageLink, showDialog, table, to } from "./dom.js";
import { ago, when } from "./times.js";

const SECONDS = 5;
const KINDS = { received: "s-NEW", rejected: "s-ERROR", dispatched: "s-SUCCESS", recorded: "s-SUCCESS", duplicate: "s-SKIPPED" };
const STATES = [["", "waiting or rejected"], ["received", "waiting"], ["rejected", "rejected"], ["dispatched", "dispatched"], ["recorded", "recorded"], ["duplicate", "duplicate"], ["all", "all"]];
const chip = (state) => h("span", { class: `chip ${KINDS[state] ?? ""}`, title: state }, state === "received" ? "waiting" : state);

export function show(root, parameters, { signal }) {
  const list = h("section");
  const { id, ...wanted } = parameters;
  const change = (values) => { location.hash = to("requests", { ...wanted, after: "", ...values }); };
  fill(root, h("h1", { class: "hidden" }, "Requests"), h("div", { class: "filters", role: "search" },
    h("label", { class: "wide" }, h("span", null, "Search"), h("input", { type: "search", "data-key": "text", placeholder: "part of a message, batch or task id, or of the reason", value: wanted.text ?? "", onchange: (event) => change({ text: event.target.value.trim() }) })),
    h("label", null, h("span", null, "State"), h("select", { "data-key": "state", onchange: (event) => change({ state: event.target.value }) }, ...STATES.map(([value, shown]) => h("option", { value, selected: (wanted.state ?? "") === value }, shown))))), list);
  let before = "";
  const load = async () => {
    const found = await ask("requests", wanted, { signal });
    const now = JSON.stringify(found);
    if (now === before) return;
    before = now;
    fill(list, ...(found.requests.length ? [rows(found.requests, turn), found.more ? h("div", { class: "pager" }, h("a", { class: "button", href: to("requests", { ...wanted, after: found.requests.at(-1).id }) }, "Older →")) : null] : [empty(wanted)]));
  };
  const turn = live(SECONDS, signal, load, (error) => { before = ""; fill(list, refusal(error)); });
  if (id) open(id, turn);
}

function empty(wanted) {
  const narrowed = wanted.state || wanted.text || wanted.after;
  return h("div", { class: "empty" }, h("p", null, narrowed ? "No requests fit." : "Nothing waits, and nothing was rejected."), narrowed ? h("p", null, pageLink("requests", {}, "Show what waits or was rejected")) : h("p", null, pageLink("requests", { state: "all" }, "Show all requests")));
}

function rows(requests, reload) {
  return table(["State", "Message", "Received", "For", "Why"], requests.map((one) => ({
    class: "row", onclick: (event) => { if (!event.target.closest("a, summary, button")) open(one.id, reload); },
    cells: [
      chip(one.state),
      [h("button", { class: "link id", "data-key": `request ${one.id}`, onclick: () => open(one.id, reload) }, one.message_id), h("div", { class: "muted" }, `${one.kind}${one.status ? ` ${one.status}` : ""}`)],
      [when(one.received_at), h("div", { class: "muted took" }, ago(one.received_at))],
      target(one),
      longText(one.reason, `reason ${one.id}`, 200),
    ],
  })), "Requests, newest first");
}

function target(one) {
  // What waits has no batch yet.
  const batch = one.batch_id && (one.workflow_id && !["rejected", "received"].includes(one.state) ? pageLink("batch", { dag_id: one.workflow_id, run_id: one.batch_id }, one.batch_id) : one.batch_id);
  return [batch && h("span", { class: "id" }, batch), h("div", { class: "muted id" }, [one.workflow_id, one.task_id].filter(Boolean).join(" · ") || "no workflow")];
}

async function open(id, reload) {
  const found = await ask("request", { id }).catch((error) => { showDialog(`Request ${id}`, refusal(error)); });
  if (!found) return;
  const { request, payload } = found;
  const said = h("div", { role: "status" });
  const written = found.may_correct ? h("textarea", { rows: Math.min(20, payload.text.split("\n").length + 1), spellcheck: false, "aria-label": "Payload" }) : null;
  if (written) written.value = payload.text;
  const retry = async (event) => {
    event.target.disabled = true;
    try {
      const corrected = written && written.value !== payload.text ? { payload: written.value } : {};
      const { state, said: text, id: now } = await ask("request/retry", {}, sent({ id: request.id, ...corrected }));
      request.id = now;
      event.target.disabled = state !== "rejected";
      said.replaceChildren(h("p", { class: `callout ${state === "rejected" ? "bad" : "good"}` }, `${text.charAt(0).toUpperCase()}${text.slice(1)}`));
    } catch (error) {
      event.target.disabled = false;
      said.replaceChildren(refusal(error));
    }
    reload();
  };
  const values = (data) => Object.entries(data ?? {}).map(([name, value]) => `${name} = ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n");
  showDialog(`Request ${request.id}`,
    request.reason && h("p", { class: `callout ${request.state === "rejected" ? "bad" : ""}` }, request.reason),
    facts({
      State: chip(request.state), Message: request.message_id, Kind: [request.kind, request.status ?? ""].join(" "), Subscription: request.subscription,
      Received: [when(request.received_at), ` (${ago(request.received_at)})`], Published: when(request.published_at), Dispatched: when(request.dispatched_at),
      For: target(request), Scope: request.scope, Attempts: request.attempts || "", "Next attempt": request.state === "received" ? when(request.next_attempt_at) : "", Error: request.error,
    }),
    values(request.params) && h("section", null, h("h3", null, "Params"), h("pre", null, values(request.params))),
    values(request.attributes) && h("section", null, h("h3", null, "Attributes"), h("pre", null, values(request.attributes))),
    payload.kept > 0 && h("section", null, h("h3", null, `Payload, ${payload.bytes} bytes${payload.kept < payload.bytes ? ` of which ${payload.kept} were kept` : ""}; secrets are masked`), written ?? h("pre", null, payload.text), written && h("p", { class: "muted" }, "It can be corrected here before it is tried again.")),
    said, h("div", { class: "actions" }, found.may_retry ? h("button", { class: "primary", onclick: retry }, "Try again") : null));
}
