// The list of batches: filters in the address, live, by keyboard.
import { ask, live, refusal } from "./ask.js";
import { chip, fill, h, pageLink, table, to, word } from "./dom.js";
import { asOf, took, when } from "./times.js";

const STATUSES = ["ERROR", "PROCESSING", "NEW", "SUCCESS"];
const SOURCES = ["message", "schedule", "ui", "api", "cli", "dag", "backfill", "asset", "test", "manual"];
const SPANS = { "": "any time", 1: "last hour", 24: "last 24 hours", 168: "last 7 days", 720: "last 30 days" };
const TASKS = ["ERROR", "BLOCKED", "PROCESSING", "NEW", "SUCCESS", "SKIPPED"];
const SECONDS = 5;

export function show(root, parameters, { signal, person }) {
  const list = h("section", { "aria-live": "off" });
  const asOfPlace = h("span");
  fill(root, h("h1", { class: "hidden" }, "Task batches"), filters(parameters, person), list, h("footer", null, asOfPlace));
  let before = "";
  const load = async () => {
    const { hours, ...wanted } = parameters;
    if (hours) wanted.since = new Date(Date.now() - hours * 3600e3).toISOString();
    const found = await ask("batches", wanted, { signal });
    fill(asOfPlace, asOf(found.record_current_at), h("span", { class: "muted" }, " · asks again every 5 s · keys: / search, j k move, Enter open"));
    const now = JSON.stringify([found.batches, found.more]);
    if (now === before && !found.batches.some((row) => !row.ended_at)) return;
    before = now;
    fill(list, ...(found.batches.length ? [rows(found.batches), pager(parameters, found)] : [empty(parameters)]));
  };
  live(SECONDS, signal, load, (error) => { before = ""; fill(list, refusal(error)); });
  document.addEventListener("keydown", (event) => keys(event, root), { signal });
}

function filters(parameters, person) {
  const change = (values) => { location.hash = to("batches", { ...parameters, after: "", before: "", ...values }); };
  const choice = (name, title, options) => h("label", null, h("span", null, title), h("select", { name, "data-key": name, onchange: (event) => change({ [name]: event.target.value }) },
    ...options.map(([value, shown]) => h("option", { value, selected: (parameters[name] ?? "") === value }, shown))));
  const search = h("input", { type: "search", name: "text", placeholder: "part of a batch id", "aria-label": "Search in batch ids", "data-key": "text", value: parameters.text ?? "",
    onchange: (event) => change({ text: event.target.value.trim() }) });
  const any = (values) => [["", "any"], ...values];
  const narrowed = ["text", "workflow", "status", "source", "hours"].some((name) => parameters[name]);
  return h("div", { class: "filters", role: "search" },
    h("label", { class: "wide" }, h("span", null, "Search"), search),
    choice("status", "Status", any(STATUSES.map((one) => [one, word(one)]))),
    choice("workflow", "Workflow", any([...new Set([...person.workflows, parameters.workflow ?? ""])].filter(Boolean).sort().map((one) => [one, one]))),
    choice("source", "Started by", any(SOURCES.map((one) => [one, one]))),
    choice("hours", "Created", Object.entries(SPANS).sort(([one], [other]) => one - other)),
    narrowed && h("a", { href: to("batches"), class: "button" }, "Clear"));
}

function rows(batches) {
  return table(["Status", "Batch", "Tasks", "Started", "Took", "By", "Error"], batches.map((row) => {
    const open = to("batch", { dag_id: row.workflow_id, run_id: row.batch_id });
    return {
      class: "row", onclick: (event) => { if (!event.target.closest("a, summary, button") && !getSelection().toString()) location.hash = open; },
      cells: [
        chip(row.status),
        [h("a", { href: open, class: "id", "data-key": `${row.workflow_id}\n${row.batch_id}` }, row.batch_id), h("div", { class: "muted id" }, row.workflow_id)],
        progress(row.tasks),
        when(row.started_at),
        took(row.started_at, row.ended_at),
        row.source ?? "",
        h("span", { class: "error-text clamp", title: row.error ?? "" }, row.error ?? ""),
      ],
    };
  }), "Batches, newest first");
}

/** How many tasks are in which status: a bar, and the numbers for whoever cannot tell colours. */
export function progress(counts) {
  const present = TASKS.filter((status) => counts[status]);
  const all = present.reduce((sum, status) => sum + counts[status], 0);
  if (!all) return "";
  let at = 0;
  const parts = present.map((status) => {
    const width = (100 * counts[status]) / all;
    at += width;
    return h("rect", { x: at - width, y: 0, width, height: 6, class: `f-${status}` });
  });
  const text = present.map((status) => `${counts[status]} ${word(status).toLowerCase()}`).join(", ");
  return h("div", { class: "progress", title: text }, h("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts), h("small", null, text));
}

function pager(parameters, found) {
  const rest = { ...parameters, after: "", before: "" };
  const older = parameters.before || found.more ? to("batches", { ...rest, after: found.batches.at(-1).place }) : null;
  const newer = parameters.after || (parameters.before && found.more) ? to("batches", { ...rest, before: found.batches[0].place }) : null;
  return h("div", { class: "pager" },
    parameters.after || parameters.before ? h("a", { class: "button", href: to("batches", rest) }, "Newest") : null,
    newer && h("a", { class: "button", href: newer, rel: "prev" }, "← Newer"), older && h("a", { class: "button", href: older, rel: "next" }, "Older →"));
}

function empty(parameters) {
  const narrowed = Object.values(parameters).some(Boolean);
  return h("div", { class: "empty" }, h("p", null, narrowed ? "No batches fit." : "No batches yet."),
    narrowed ? h("p", null, pageLink("batches", {}, "Show all"), parameters.text ? ". A text is looked for in the newest 100,000 batches that fit the other filters." : "") : h("p", { class: "muted" }, "A batch is a run of a workflow that came out of the tables: by a message, its schedule, or Trigger on its DAG. A person sees the batches of the DAGs that they may read."));
}

function keys(event, root) {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    root.querySelector("input[type=search]").focus();
  } else if ((event.key === "j" || event.key === "k") && !typing) {
    const links = [...root.querySelectorAll("tr.row a.id")];
    const now = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, event.key === "j" ? now + 1 : now - 1))]?.focus();
  }
}
