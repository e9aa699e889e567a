// When what ran, as SVG: a line for each task instance, waits in grey, tries in the colour of their status.
import { h, word } from "./dom.js";
import { ran, taskName } from "./batch.js";
import { words } from "./times.js";

const LINE = 24;
const TOP = 22;
const MOST_LINES = 300;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

/** Return the drawing, which is drawn anew when its place becomes wider or narrower. */
export function gantt(found, instances, signal) {
  const place = h("div", { class: "gantt" });
  const lines = instances.slice(0, MOST_LINES).map((all) => all.filter(ran));
  const drawIn = (width) => width > 0 && place.replaceChildren(drawing(found, lines, width));
  const watcher = new ResizeObserver(([entry]) => drawIn(Math.floor(entry.contentRect.width)));
  watcher.observe(place);
  signal.addEventListener("abort", () => watcher.disconnect());
  return place;
}

function drawing({ batch, edges }, lines, width) {
  const time = (text) => new Date(text).getTime();
  const now = Date.now();
  const begins = Math.min(...[batch.started_at, ...lines.flat().map((one) => one.started_at)].filter(Boolean).map(time));
  const ends = Math.max(begins + 1000, ...lines.flat().map((one) => (one.ended_at ? time(one.ended_at) : now)));
  const names = Math.min(260, width * 0.35, Math.max(...lines.map((all) => taskName(all[0]).length)) * 7.2 + 12);
  const x = (moment) => names + ((moment - begins) / (ends - begins)) * (width - names - 8);
  const ready = readiness(lines, edges, begins);
  const height = TOP + lines.length * LINE + 4;
  const step = STEPS.find((seconds) => ((ends - begins) / 1000 / seconds) * 72 < width - names) ?? STEPS.at(-1) * Math.ceil((ends - begins) / 1000 / STEPS.at(-1) / 10);
  const ticks = [];
  for (let moment = begins; moment <= ends; moment += step * 1000) ticks.push(moment);
  return h("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "When which task ran; the table of tries says the same" },
    ...ticks.map((moment, index) => h("g", null, h("line", { x1: x(moment), x2: x(moment), y1: TOP - 4, y2: height, class: "grid" }),
      index < ticks.length - 1 || x(moment) < width - 64 ? h("text", { x: x(moment) + 3, y: 13, class: "tick" }, index ? words((moment - begins) / 1000) : "0") : null)),
    ...lines.map((all, index) => line(all, TOP + index * LINE, { x, ready: ready(all[0].task_id), now, names, width })));
}

/** Return what tells from when on a task could have run: the last end of the tasks before it, or of what opens the batch. */
function readiness(lines, edges, begins) {
  const ended = new Map();
  for (const all of lines) {
    const last = all.at(-1);
    if (last.ended_at) ended.set(last.task_id, Math.max(ended.get(last.task_id) ?? 0, new Date(last.ended_at).getTime()));
  }
  const found = new Map();
  for (const [parent, child] of edges) found.set(child, Math.max(found.get(child) ?? begins, ended.get(parent) ?? begins));
  return (id) => Math.max(found.get(id) ?? begins, id === "start_batch" ? begins : (ended.get("start_batch") ?? begins));
}

function line(all, y, { x, ready, now, names, width }) {
  const parts = [];
  let free = Math.min(ready, new Date(all[0].started_at).getTime());
  for (const one of all) {
    const from = new Date(one.started_at).getTime();
    const until = one.ended_at ? new Date(one.ended_at).getTime() : now;
    if (from > free) parts.push(bar(x(free), x(from), y + 9, 4, "wait", `${one === all[0] ? "waited" : "waited for the next try"} ${words((from - free) / 1000)}`));
    parts.push(bar(x(from), x(until), y + 4, 14, `f-${one.status}`, `${taskName(one)}, try ${one.try_number}: ${word(one.status).toLowerCase()}, ${words((until - from) / 1000)}`));
    free = until;
  }
  const name = taskName(all[0]);
  const fits = Math.floor((names - 10) / 7.2);
  const jump = () => document.getElementById(`try-${all[0].task_id}-${all[0].map_index}`)?.scrollIntoView({ block: "center" });
  return h("g", { class: "line", onclick: jump }, h("rect", { x: 0, y, width, height: LINE, class: "hover" }),
    h("text", { x: 4, y: y + 15, class: "name" }, name.length > fits ? `${name.slice(0, Math.max(1, fits - 1))}…` : name, h("title", null, name)), ...parts);
}

const bar = (from, until, y, height, kind, text) => h("rect", { x: from, y, width: Math.max(2, until - from), height, rx: 2, class: kind }, h("title", null, text));
